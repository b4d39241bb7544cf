//! Limitador's limits on Redis behind Envoy's rate limit protocol, for tests and the demo.
//!
//! The limits, their conditions and the counters that a call touches are Limitador's own, and so is
//! the format of the file. What `limitador-server` does around the library is here, since no
//! registry has that. How a call is counted is [`store`]'s.

mod store;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::Duration as Reset;
use limitador::counter::Counter;
use limitador::limit::{Context, Limit};
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use store::{Counted, Store, Windows};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// An engine of Envoy's rate limit protocol. It prints its address, and serves until it is killed.
#[derive(Parser)]
struct Options {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Such as redis://127.0.0.1:6379, or redis+unix:///run/redis.sock.
    #[arg(long)]
    redis: String,
    /// How a limit's windows lie, and what is counted in them.
    #[arg(long, value_enum, default_value_t = Windows::FirstRequest)]
    windows: Windows,
    /// How far this engine's clock is ahead of the machine's, in milliseconds. It matters to windows
    /// of the clock.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    clock_ahead: i64,
    /// How long each answer takes besides, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Tell neither what is left nor until when, as `limitador-server` does by default.
    #[arg(long)]
    untold: bool,
    /// A file of limits, as Limitador has them.
    limits: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<()> {
    let path = options.limits.display().to_string();
    let text = fs::read_to_string(&options.limits).context(path.clone())?;
    let engine = Engine {
        limits: serde_saphyr::from_str(&text).context(path)?,
        store: Store::connect(&options.redis, options.windows, options.clock_ahead).await?,
        delay: Duration::from_millis(options.delay),
        tells: !options.untold,
    };
    let listener = TcpListener::bind(options.listen).await?;
    println!("{}", listener.local_addr()?);
    let service = RateLimitServiceServer::new(engine);
    let server = Server::builder().add_service(service);
    Ok(server
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?)
}

struct Engine {
    limits: Vec<Limit>,
    store: Store,
    delay: Duration,
    tells: bool,
}

#[tonic::async_trait]
impl RateLimitService for Engine {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = request.into_inner();
        let answer = self.check(&request).await;
        // It has counted: what comes late was granted all the same.
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let answer = answer.map_err(|error| Status::unavailable(format!("{error:#}")))?;
        Ok(Response::new(answer))
    }
}

impl Engine {
    async fn check(&self, request: &RateLimitRequest) -> Result<RateLimitResponse> {
        let counters = self.counters(request)?;
        let hits = request.hits_addend.max(1);
        let Some(counted) = self.store.count(&counters, hits).await? else {
            return Ok(RateLimitResponse {
                overall_code: Code::Ok.into(),
                ..RateLimitResponse::default()
            });
        };
        let Counted {
            fits,
            left,
            reset,
            limit,
        } = counted;
        let code = if fits { Code::Ok } else { Code::OverLimit };
        let status = DescriptorStatus {
            code: code.into(),
            current_limit: Some(RateLimit {
                requests_per_unit: limit.max_value().try_into().unwrap_or(u32::MAX),
                unit: unit(limit.seconds()).into(),
                ..RateLimit::default()
            }),
            limit_remaining: left,
            duration_until_reset: Some(Reset {
                seconds: reset.as_secs().try_into().unwrap_or(i64::MAX),
                nanos: reset.subsec_nanos().try_into().unwrap_or_default(),
            }),
            ..DescriptorStatus::default()
        };
        let statuses = match self.tells {
            true => vec![status; request.descriptors.len()],
            false => Vec::new(),
        };
        Ok(RateLimitResponse {
            overall_code: code.into(),
            statuses,
            ..RateLimitResponse::default()
        })
    }

    /// What a call counts, by Limitador's rules: each limit of the domain whose conditions hold.
    fn counters(&self, request: &RateLimitRequest) -> Result<Vec<Counter>> {
        let descriptors = request.descriptors.iter().map(|descriptor| {
            let entries = descriptor.entries.iter();
            let entries = entries.map(|entry| (entry.key.clone(), entry.value.clone()));
            entries.collect::<HashMap<_, _>>()
        });
        let mut context = Context::default();
        context.list_binding("descriptors".to_owned(), descriptors.collect());
        let mut counters = Vec::new();
        for limit in &self.limits {
            let is_of = limit.namespace().as_ref() == request.domain;
            if is_of && limit.applies(&context) {
                let counter = Counter::new(limit.clone(), &context);
                counters.extend(counter.map_err(|error| anyhow!("{error}"))?);
            }
        }
        Ok(counters)
    }
}

fn unit(seconds: u64) -> Unit {
    match seconds {
        1 => Unit::Second,
        60 => Unit::Minute,
        3600 => Unit::Hour,
        86400 => Unit::Day,
        _ => Unit::Unknown,
    }
}
