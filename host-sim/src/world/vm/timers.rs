//! What happens in time, without a stream: ticks, and the answers to the filter's own HTTP calls.

use super::Vm;
use crate::header_map::HeaderMap;
use crate::world::host_calls::Callback;
use crate::world::http_call::{HttpCall, HttpCallOutcome};
use crate::world::proxy::GrpcCalls;
use crate::world::{guest, local_reply};
use pointsman_core::time::Nanos;
use std::rc::Rc;

impl Vm {
    /// When the next tick or the next time-out of a call is due. None: nothing is.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        let state = &mut *self.state.borrow_mut();
        let ticks = state.ticks.values().map(|tick| tick.due);
        let due = ticks.chain(state.http_calls.iter().map(|call| call.due));
        *state.next_due.get_or_insert_with(|| due.min())
    }

    /// Runs the ticks that are due now, and ends the calls that have timed out.
    pub(crate) fn do_due(self: &Rc<Vm>) {
        let now = self.proxy.monotonic();
        self.state.borrow_mut().next_due = None;
        let roots: Vec<u32> = self.state.borrow().ticks.keys().copied().collect();
        for root in roots {
            let due = match self.state.borrow_mut().ticks.get_mut(&root) {
                Some(tick) if tick.due <= now => {
                    tick.due = now + tick.period;
                    true
                }
                _ => false,
            };
            if due {
                self.enter(root, Callback::Tick, || guest::proxy_on_tick(root));
            }
        }
        let late = |call: &&HttpCall| call.due <= now;
        let late: Vec<u32> = self
            .state
            .borrow()
            .http_calls
            .iter()
            .filter(late)
            .map(|call| call.token)
            .collect();
        for token in late {
            self.end_http_call(token, &HttpCallOutcome::TimeOut);
        }
    }

    /// Answers the gRPC calls that are to be answered.
    pub(crate) fn answer_grpc_calls(self: &Rc<Vm>) {
        let GrpcCalls::Answered(answer) = self.proxy.grpc_calls() else {
            return;
        };
        let calls = std::mem::take(&mut self.state.borrow_mut().grpc_calls);
        for (token, context) in calls {
            self.state.borrow_mut().grpc_answer = Some(answer.clone());
            self.enter(context, Callback::GrpcCall, || {
                guest::proxy_on_grpc_receive(context, token, answer.len())
            });
            self.state.borrow_mut().grpc_answer = None;
        }
    }

    /// The filter's own HTTP calls that have no answer yet.
    pub(crate) fn http_calls(&self) -> Vec<HttpCall> {
        self.state.borrow().http_calls.clone()
    }

    /// Ends one of the filter's HTTP calls. False: there is no such call, or it has ended before.
    pub(crate) fn end_http_call(self: &Rc<Vm>, token: u32, outcome: &HttpCallOutcome) -> bool {
        let answer = match outcome {
            HttpCallOutcome::Answer(response) => Some(response.clone()),
            HttpCallOutcome::Unreachable => Some(local_reply::unreachable()),
            HttpCallOutcome::TimeOut => Some(local_reply::timed_out()),
            HttpCallOutcome::Broken => None,
        };
        let root = {
            let state = &mut *self.state.borrow_mut();
            let Some(at) = state.http_calls.iter().position(|call| call.token == token) else {
                return false;
            };
            state.http_answer =
                answer.map(|response| (HeaderMap::of_response(&response), response.body));
            state.next_due = None;
            state.http_calls.remove(at).root
        };
        let (headers, body) = match &self.state.borrow().http_answer {
            Some((headers, body)) => (headers.pairs().len(), body.len()),
            None => (0, 0),
        };
        self.enter(root, Callback::HttpCall, || {
            guest::proxy_on_http_call_response(root, token, headers, body, 0)
        });
        self.state.borrow_mut().http_answer = None;
        true
    }
}
