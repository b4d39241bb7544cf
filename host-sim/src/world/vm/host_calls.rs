//! What host calls do to the VM that makes them, or read of it.

use super::{Access, Tick, Vm, fresh_id};
use crate::exchange::Pairs;
use crate::header_map::HeaderMap;
use crate::world::http_call::HttpCall;
use crate::world::local_reply::LocalReply;
use crate::world::proxy::GrpcCalls;
use crate::world::status::Status;
use crate::world::stream_info::grpc_status;
use pointsman_core::time::Nanos;

/// proxy-wasm's numbers of header maps.
const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const HTTP_CALL_RESPONSE_HEADERS: u32 = 6;
/// proxy-wasm's numbers of buffers.
const HTTP_CALL_RESPONSE_BODY: u32 = 4;
const GRPC_RECEIVED: u32 = 5;
const PLUGIN_CONFIGURATION: u32 = 7;

impl Vm {
    /// A host call begins. False: it is refused, because a test examines how the filter handles
    /// that.
    pub(crate) fn begin_call(&self, kind: &'static str) -> bool {
        if let Some(scheduler) = &self.proxy.scheduler {
            scheduler.pass(self.worker);
        }
        let state = &mut *self.state.borrow_mut();
        state.calls.count(self.callback.get(), kind);
        !state.refused.contains(kind)
    }

    /// Counts that the running host call returns bytes.
    pub(crate) fn count_returned_bytes(&self) {
        let state = &mut *self.state.borrow_mut();
        state.calls.count_returned_bytes(self.callback.get());
    }

    /// Reads a header map, if it is there in the running callback.
    pub(crate) fn read_map<T>(
        &self,
        map: u32,
        body: impl FnOnce(&HeaderMap) -> T,
    ) -> Result<T, Status> {
        let state = self.state.borrow();
        if map == HTTP_CALL_RESPONSE_HEADERS {
            let (headers, _) = state.http_answer.as_ref().ok_or(Status::BadArgument)?;
            return Ok(body(headers));
        }
        let stream = state
            .streams
            .get(&self.context.get())
            .ok_or(Status::BadArgument)?;
        let (headers, access) = match map {
            REQUEST_HEADERS => &stream.request,
            RESPONSE_HEADERS => &stream.response,
            _ => return Err(Status::BadArgument),
        };
        match access {
            Access::None => Err(Status::BadArgument),
            Access::Read | Access::Write => Ok(body(headers)),
        }
    }

    /// Changes a header map, if the running callback may.
    pub(crate) fn edit_map(
        &self,
        map: u32,
        body: impl FnOnce(&mut HeaderMap),
    ) -> Result<(), Status> {
        let state = &mut *self.state.borrow_mut();
        let stream = state
            .streams
            .get_mut(&self.context.get())
            .ok_or(Status::BadArgument)?;
        let (headers, access) = match map {
            REQUEST_HEADERS => &mut stream.request,
            RESPONSE_HEADERS => &mut stream.response,
            _ => return Err(Status::BadArgument),
        };
        match access {
            Access::None | Access::Read => Err(Status::BadArgument),
            Access::Write => {
                body(headers);
                Ok(())
            }
        }
    }

    /// The bytes of a buffer. None: it is not there in the running callback.
    pub(crate) fn buffer(&self, kind: u32) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        match kind {
            PLUGIN_CONFIGURATION if state.configuring => Some(state.configuration.to_vec()),
            GRPC_RECEIVED => state.grpc_answer.as_deref().map(<[u8]>::to_vec),
            HTTP_CALL_RESPONSE_BODY => state.http_answer.as_ref().map(|(_, body)| body.clone()),
            _ => None,
        }
    }

    /// A property of the stream. None: there is no such property.
    pub(crate) fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let stream = state.streams.get(&self.context.get())?;
        match path {
            b"source\0address" => Some(stream.source.to_string().into_bytes()),
            b"source\0port" => Some(number(stream.source.port())),
            b"response\0code" => stream.info.code.map(number),
            b"response\0code_details" => stream.info.details.clone(),
            b"response\0flags" => Some(number(stream.info.flags.cast_signed())),
            b"response\0grpc_status" => {
                grpc_status(&stream.trailers, &stream.response.0, stream.info.code).map(number)
            }
            b"upstream\0address" => stream.info.upstream.clone().map(String::into_bytes),
            _ => stream.properties.get(path).cloned(),
        }
    }

    /// Sets a property of the stream.
    pub(crate) fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), Status> {
        let state = &mut *self.state.borrow_mut();
        let stream = state
            .streams
            .get_mut(&self.context.get())
            .ok_or(Status::NotFound)?;
        stream.properties.insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    /// Asks for a local reply. Only the first one of a stream counts.
    pub(crate) fn send_local_response(
        &self,
        status: u32,
        details: &[u8],
        body: &[u8],
        headers: Pairs,
        grpc_status: i32,
    ) -> Result<(), Status> {
        let state = &mut *self.state.borrow_mut();
        let stream = state
            .streams
            .get_mut(&self.context.get())
            .ok_or(Status::BadArgument)?;
        if stream.reply.is_some() {
            return Err(Status::BadArgument);
        }
        stream.reply = Some(LocalReply {
            status: status as u16,
            details: details.to_vec(),
            headers,
            body: body.to_vec(),
            grpc_status,
        });
        Ok(())
    }

    /// Sets the tick period of the root context; 0 ends its ticks.
    pub(crate) fn set_tick_period(&self, milliseconds: u32) {
        let state = &mut *self.state.borrow_mut();
        let context = self.context.get();
        let root = state.root_of(context);
        state.next_due = None;
        match Nanos::from_millis(milliseconds.into()) {
            Nanos::ZERO => state.ticks.remove(&root),
            period => state.ticks.insert(
                root,
                Tick {
                    period,
                    due: self.proxy.monotonic() + period,
                },
            ),
        };
    }

    /// Takes a gRPC call, and returns its token. Error: it makes none.
    pub(crate) fn grpc_call(&self) -> Result<u32, Status> {
        let token = fresh_id();
        match self.proxy.grpc_calls() {
            GrpcCalls::Refused => return Err(Status::Unimplemented),
            GrpcCalls::Lost => {}
            GrpcCalls::Answered(_) => {
                let call = (token, self.context.get());
                self.state.borrow_mut().grpc_calls.push(call);
            }
        }
        Ok(token)
    }

    /// Makes an HTTP call, and returns its token. The time-out is in milliseconds.
    pub(crate) fn http_call(
        &self,
        cluster: &[u8],
        headers: Pairs,
        body: &[u8],
        timeout: u32,
    ) -> Result<u32, Status> {
        let cluster = String::from_utf8_lossy(cluster).into_owned();
        let has = |name: &[u8]| headers.iter().any(|(other, _)| other == name);
        if self.proxy.endpoints(&cluster).is_none()
            || !has(b":method")
            || !has(b":path")
            || !has(b":authority")
        {
            return Err(Status::BadArgument);
        }
        let state = &mut *self.state.borrow_mut();
        let context = self.context.get();
        let token = fresh_id();
        let root = state.root_of(context);
        state.next_due = None;
        state.http_calls.push(HttpCall {
            token,
            cluster,
            headers,
            body: body.to_vec(),
            root,
            due: self.proxy.monotonic() + Nanos::from_millis(timeout.into()),
        });
        Ok(token)
    }

    /// Puts another context in place of the one whose callback is running.
    pub(crate) fn set_effective_context(&self, context: u32) -> Result<(), Status> {
        let state = self.state.borrow();
        if !state.streams.contains_key(&context) && !state.roots.contains_key(&context) {
            return Err(Status::BadArgument);
        }
        self.context.set(context);
        Ok(())
    }
}

/// A number as a property's value: eight bytes, little-endian.
fn number(number: impl Into<i64>) -> Vec<u8> {
    number.into().to_le_bytes().to_vec()
}
