//! Pointsman as it is, in a VM that traps after it has decided a request with the header `x-trap`:
//! what nothing in Pointsman itself does, and a proxy must survive. Natively `World::kill` is the
//! trap.

#![allow(missing_docs)] // of the symbols that `main!` exports

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root(pointsman_shell::root())));
}}

/// Hands on every callback that Pointsman's root context has.
struct Root(Box<dyn RootContext>);

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        self.0.on_http_call_response(token, headers, body, trailers);
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        self.0.on_grpc_call_response(token, status, size);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        self.0.on_configure(size)
    }

    fn on_tick(&mut self) {
        self.0.on_tick();
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream(self.0.create_http_context(context)?)))
    }

    fn get_type(&self) -> Option<ContextType> {
        self.0.get_type()
    }
}

/// Hands on every callback that Pointsman's streams have.
struct Stream(Box<dyn HttpContext>);

impl Context for Stream {
    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        self.0.on_grpc_call_response(token, status, size);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, count: usize, end: bool) -> Action {
        let action = self.0.on_http_request_headers(count, end);
        assert!(self.get_http_request_header("x-trap").is_none(), "as asked");
        action
    }

    fn on_http_response_headers(&mut self, count: usize, end: bool) -> Action {
        self.0.on_http_response_headers(count, end)
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.0.on_http_response_body(size, end)
    }

    fn on_http_response_trailers(&mut self, count: usize) -> Action {
        self.0.on_http_response_trailers(count)
    }

    fn on_log(&mut self) {
        self.0.on_log();
    }
}
