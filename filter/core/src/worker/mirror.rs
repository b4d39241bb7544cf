//! The copy of a request: whether there is one, and where it goes. It counts for nothing: no turn,
//! no count in flight, no session, and what becomes of it tells nothing of a target's health.

use super::context::RequestContext;
use super::edits::change_to;
use super::{Matched, Worker};
use crate::decision::Change;
use crate::pool::balance::random;
use crate::route::mirror::Mirror;
use crate::siphash::mixed;
use std::borrow::Cow;

impl Worker {
    /// Adds the header that has the proxy copy the request, where it is to be copied.
    pub(super) fn mirror_edit<'c>(
        &mut self,
        edits: &mut Vec<Change<'c>>,
        context: &mut RequestContext<'c, '_>,
        matched: Matched<'c>,
    ) {
        let Some(mirror) = &matched.route.mirror else {
            return;
        };
        if let Some(cluster) = self.mirrored(context, mirror) {
            let header = &context.config.upstream.mirror_header;
            let cluster = Cow::Borrowed(cluster.as_bytes());
            edits.push(change_to(header, cluster, context.request));
        }
    }

    /// The cluster that gets a copy of the request: a target of the mirror's pool by weight, of
    /// those that are healthy and take new requests. None: none gets one.
    fn mirrored<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        mirror: &'c Mirror,
    ) -> Option<&'c str> {
        // What the draw decided of a split or a target says nothing of this one. A roll that was
        // asked for decides as it is.
        let random = match context.random.is_fixed {
            true => context.random.number,
            false => mixed(context.random.number),
        };
        if !mirror.takes(random) {
            return None;
        }
        let (pool, now) = (&*mirror.pool, context.now);
        self.health.refresh(context.port, pool, now);
        let (health, candidates) = (&self.health, &mut self.candidates);
        candidates.collect(pool, |target| health.is_healthy(pool, target, now));
        let (target, _) = random::pick(candidates, mixed(random))?;
        pool.target(target).map(|target| &*target.cluster)
    }
}
