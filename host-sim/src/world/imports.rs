//! The functions that a module imports: the ABI's host calls over a module's memory, and what the
//! standard library asks of WASI.

use super::engine::Exports;
use crate::exchange::Pairs;
use crate::header_map::HeaderMap;
use crate::world::abi::{RANDOM_GET_MAX, REFUSED, WASI_EINVAL, pairs};
use crate::world::metrics::MetricKind;
use crate::world::status::Status;
use crate::world::vm::{self, Vm};
use anyhow::{Result, bail};
use pointsman_core::http::headers::Headers;
use wasmi::{Caller, Engine, Error, ExternType, Linker, Memory, Val};

/// The names under which a module imports the ABI and WASI.
const ABI: &str = "env";
const WASI: &str = "wasi_snapshot_preview1";
/// proxy-wasm's number of the log level of errors: what a program writes to stderr, as Envoy has it.
const ERROR: u32 = 4;
/// That of the message with which a panic ends.
const CRITICAL: u32 = 5;

/// Why a call gives nothing.
enum Failed {
    /// The filter is told so.
    Status(Status),
    /// The module cannot go on: it named memory that it does not have.
    Trap(Error),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Failed {
        Failed::Status(status)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Trap(error)
    }
}

/// The module that makes a call.
struct Guest<'c, 's> {
    caller: &'c mut Caller<'s, Exports>,
}

impl Guest<'_, '_> {
    fn memory(&self) -> Result<Memory, Error> {
        let memory = self.caller.data().memory;
        memory.ok_or_else(|| Error::new("a host call before the module has started"))
    }

    /// The bytes that the filter passed as address and size.
    fn read(&self, address: u32, size: u32) -> Result<Vec<u8>, Error> {
        let bytes = self.memory()?.data(&*self.caller);
        let start = address as usize;
        // With a size of 0 the address may be anything.
        match bytes.get(start..start.saturating_add(size as usize)) {
            _ if size == 0 => Ok(Vec::new()),
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(outside(address, size)),
        }
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Error> {
        let memory = self.memory()?;
        let written = memory.write(&mut *self.caller, address as usize, bytes);
        written.map_err(|_| outside(address, bytes.len() as u32))
    }

    fn write_u32(&mut self, address: u32, number: u32) -> Result<(), Error> {
        self.write(address, &number.to_le_bytes())
    }

    fn read_u32(&self, address: u32) -> Result<u32, Error> {
        let bytes = self.read(address, 4)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    /// Returns bytes in memory that the filter allocates and then owns. An empty value is null.
    fn give(&mut self, vm: &Vm, bytes: &[u8], data: u32, size: u32) -> Result<(), Error> {
        let mut address = 0;
        if !bytes.is_empty() {
            vm.count_returned_bytes();
            let allocate = self.caller.data().allocate;
            let allocate = allocate.ok_or_else(|| Error::new("nothing allocates"))?;
            address = allocate.call(&mut *self.caller, bytes.len() as u32)?;
            self.write(address, bytes)?;
        }
        self.write_u32(data, address)?;
        self.write_u32(size, bytes.len() as u32)
    }
}

fn outside(address: u32, size: u32) -> Error {
    Error::new(format!(
        "{size} bytes at {address:#x} are not in the module's memory"
    ))
}

/// Runs one host call: waits for the worker's next turn, counts the call, and turns its result into
/// a status.
fn call(
    mut caller: Caller<'_, Exports>,
    kind: &'static str,
    body: impl FnOnce(&Vm, &mut Guest<'_, '_>) -> Result<(), Failed>,
) -> Result<u32, Error> {
    vm::current(|vm| {
        if !vm.begin_call(kind) {
            return Ok(REFUSED);
        }
        let mut guest = Guest {
            caller: &mut caller,
        };
        match body(vm, &mut guest) {
            Ok(()) => Ok(Status::Ok as u32),
            Err(Failed::Status(status)) => Ok(status as u32),
            Err(Failed::Trap(error)) => Err(error),
        }
    })
}

type Call<'a> = Caller<'a, Exports>;

/// All that a module may import. Error: this one imports something else.
pub(super) fn linker(engine: &Engine, module: &wasmi::Module) -> Result<Linker<Exports>> {
    let mut linker = Linker::new(engine);
    let defined = define_abi(&mut linker)
        .and_then(define_headers)
        .and_then(define_metrics)
        .and_then(define_wasi);
    if let Err(error) = defined {
        bail!("{error}");
    }
    for import in module.imports() {
        let ExternType::Func(ty) = import.ty() else {
            bail!("it imports {}, which is no function", import.name());
        };
        let is_abi = import.module() == ABI && import.name().starts_with("proxy_");
        if is_abi {
            // What is defined already stays. (Envoy implements some of the rest; the filter uses
            // none of it.)
            let unimplemented = |caller: Call<'_>, _: &[Val], results: &mut [Val]| {
                let status = call(caller, "unimplemented", |_, _| {
                    Err(Status::Unimplemented.into())
                });
                results[0] = Val::I32(status?.cast_signed());
                Ok(())
            };
            let _ = linker.func_new(ABI, import.name(), ty.clone(), unimplemented);
        } else if import.module() != WASI || !WASI_CALLS.contains(&import.name()) {
            bail!(
                "it imports {}.{}, which this host does not have",
                import.module(),
                import.name()
            );
        }
    }
    Ok(linker)
}

type Linked<'l> = Result<&'l mut Linker<Exports>, wasmi::errors::LinkerError>;

fn define_abi(linker: &mut Linker<Exports>) -> Linked<'_> {
    linker
        .func_wrap(
            ABI,
            "proxy_log",
            |caller: Call<'_>, level: u32, message: u32, size: u32| {
                call(caller, "log", |vm, guest| {
                    let message = guest.read(message, size)?;
                    let message = String::from_utf8_lossy(&message).into_owned();
                    if level >= CRITICAL {
                        guest.caller.data_mut().last_words = message.clone();
                    }
                    vm.proxy().log_line(level, message);
                    Ok(())
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_get_current_time_nanoseconds",
            |caller: Call<'_>, time: u32| {
                call(caller, "get_current_time", |vm, guest| {
                    Ok(guest.write(time, &vm.proxy().now().get().to_le_bytes())?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_set_tick_period_milliseconds",
            |caller: Call<'_>, period: u32| {
                call(caller, "set_tick_period", |vm, _| {
                    vm.set_tick_period(period);
                    Ok(())
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_get_buffer_bytes",
            |caller: Call<'_>, kind: u32, start: u32, max: u32, data: u32, size: u32| {
                call(caller, "get_buffer", |vm, guest| {
                    let buffer = vm.buffer(kind).ok_or(Status::NotFound)?;
                    let start = (start as usize).min(buffer.len());
                    let end = start.saturating_add(max as usize).min(buffer.len());
                    Ok(guest.give(vm, &buffer[start..end], data, size)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_get_property",
            |caller: Call<'_>, path: u32, path_size: u32, data: u32, size: u32| {
                call(caller, "get_property", |vm, guest| {
                    let path = guest.read(path, path_size)?;
                    let value = vm.property(&path).ok_or(Status::NotFound)?;
                    Ok(guest.give(vm, &value, data, size)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_set_property",
            |caller: Call<'_>, path: u32, path_size: u32, value: u32, value_size: u32| {
                call(caller, "set_property", |vm, guest| {
                    let path = guest.read(path, path_size)?;
                    let value = guest.read(value, value_size)?;
                    Ok(vm.set_property(&path, &value)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_get_shared_data",
            |caller: Call<'_>, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
                call(caller, "get_shared_data", |vm, guest| {
                    let key = guest.read(key, key_size)?;
                    let found = vm.proxy().shared_data.get(&key);
                    let (value, version) = found.ok_or(Status::NotFound)?;
                    guest.give(vm, &value, data, size)?;
                    Ok(guest.write_u32(cas, version)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_set_shared_data",
            |caller: Call<'_>, key: u32, key_size: u32, value: u32, value_size: u32, cas: u32| {
                call(caller, "set_shared_data", |vm, guest| {
                    let key = guest.read(key, key_size)?;
                    let value = guest.read(value, value_size)?;
                    let set = vm.proxy().shared_data.set(&key, &value, cas);
                    Ok(set.map_err(Status::from)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_send_local_response",
            |caller: Call<'_>,
             status: u32,
             details: u32,
             details_size: u32,
             body: u32,
             body_size: u32,
             headers: u32,
             headers_size: u32,
             grpc_status: i32| {
                call(caller, "send_local_response", |vm, guest| {
                    let details = guest.read(details, details_size)?;
                    let body = guest.read(body, body_size)?;
                    let headers = pairs(&guest.read(headers, headers_size)?);
                    let sent =
                        vm.send_local_response(status, &details, &body, headers, grpc_status);
                    Ok(sent?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_http_call",
            |caller: Call<'_>,
             cluster: u32,
             cluster_size: u32,
             headers: u32,
             headers_size: u32,
             body: u32,
             body_size: u32,
             _trailers: u32,
             _trailers_size: u32,
             timeout_milliseconds: u32,
             token: u32| {
                call(caller, "http_call", |vm, guest| {
                    let cluster = guest.read(cluster, cluster_size)?;
                    let headers: Pairs = pairs(&guest.read(headers, headers_size)?);
                    let body = guest.read(body, body_size)?;
                    let number = vm.http_call(&cluster, headers, &body, timeout_milliseconds)?;
                    Ok(guest.write_u32(token, number)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_set_effective_context",
            |caller: Call<'_>, context: u32| {
                call(caller, "set_effective_context", |vm, _| {
                    Ok(vm.set_effective_context(context)?)
                })
            },
        )
}

fn define_headers(linker: &mut Linker<Exports>) -> Linked<'_> {
    linker
        .func_wrap(
            ABI,
            "proxy_get_header_map_pairs",
            |caller: Call<'_>, map: u32, data: u32, size: u32| {
                call(caller, "get_header_map", |vm, guest| {
                    // A map that is not there reads as empty.
                    let wire = vm.read_map(map, |map| match map.pairs().is_empty() {
                        true => Vec::new(),
                        false => Headers::to_wire(map.pairs()),
                    });
                    Ok(guest.give(vm, &wire.unwrap_or_default(), data, size)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_set_header_map_pairs",
            |caller: Call<'_>, map: u32, wire: u32, size: u32| {
                call(caller, "set_header_map", |vm, guest| {
                    let pairs = pairs(&guest.read(wire, size)?);
                    Ok(vm.edit_map(map, |map| *map = HeaderMap::new(&pairs))?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_get_header_map_value",
            |caller: Call<'_>, map: u32, name: u32, name_size: u32, data: u32, size: u32| {
                call(caller, "get_header", |vm, guest| {
                    let name = guest.read(name, name_size)?;
                    let value = vm.read_map(map, |map| map.get(&name).map(<[u8]>::to_vec))?;
                    Ok(guest.give(vm, &value.ok_or(Status::NotFound)?, data, size)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_replace_header_map_value",
            |caller: Call<'_>, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
                call(caller, "set_header", |vm, guest| {
                    let name = guest.read(name, name_size)?;
                    let value = guest.read(value, value_size)?;
                    Ok(vm.edit_map(map, |map| map.set(&name, &value))?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_add_header_map_value",
            |caller: Call<'_>, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
                call(caller, "add_header", |vm, guest| {
                    let name = guest.read(name, name_size)?;
                    let value = guest.read(value, value_size)?;
                    Ok(vm.edit_map(map, |map| map.add(&name, &value))?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_remove_header_map_value",
            |caller: Call<'_>, map: u32, name: u32, name_size: u32| {
                call(caller, "remove_header", |vm, guest| {
                    let name = guest.read(name, name_size)?;
                    Ok(vm.edit_map(map, |map| map.remove(&name))?)
                })
            },
        )
}

fn define_metrics(linker: &mut Linker<Exports>) -> Linked<'_> {
    linker
        .func_wrap(
            ABI,
            "proxy_define_metric",
            |caller: Call<'_>, kind: u32, name: u32, name_size: u32, id: u32| {
                call(caller, "define_metric", |vm, guest| {
                    let kind = MetricKind::of(kind).ok_or(Status::BadArgument)?;
                    let name = guest.read(name, name_size)?;
                    let name = String::from_utf8_lossy(&name);
                    let defined = vm.proxy().metrics().define(kind, &name);
                    Ok(guest.write_u32(id, defined)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_increment_metric",
            |caller: Call<'_>, id: u32, offset: i64| {
                call(caller, "increment_metric", |vm, _| {
                    let done = vm.proxy().metrics().increment(id, offset);
                    Ok(done.map_err(Status::from)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_record_metric",
            |caller: Call<'_>, id: u32, value: u64| {
                call(caller, "record_metric", |vm, _| {
                    let done = vm.proxy().metrics().record(id, value);
                    Ok(done.map_err(Status::from)?)
                })
            },
        )?
        .func_wrap(
            ABI,
            "proxy_get_metric",
            |caller: Call<'_>, id: u32, value: u32| {
                call(caller, "get_metric", |vm, guest| {
                    let number = vm.proxy().metrics().get(id).map_err(Status::from)?;
                    Ok(guest.write(value, &number.to_le_bytes())?)
                })
            },
        )
}

/// What [`define_wasi`] defines.
const WASI_CALLS: &[&str] = &[
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "random_get",
];

fn define_wasi(linker: &mut Linker<Exports>) -> Linked<'_> {
    linker
        .func_wrap(
            WASI,
            "random_get",
            |mut caller: Call<'_>, data: u32, size: u32| {
                vm::current(|vm| {
                    if !vm.begin_call("random_get") || size as usize > RANDOM_GET_MAX {
                        return Ok(u32::from(WASI_EINVAL));
                    }
                    let mut bytes = vec![0; size as usize];
                    vm.proxy().fill_random(&mut bytes);
                    let mut guest = Guest {
                        caller: &mut caller,
                    };
                    guest.write(data, &bytes)?;
                    Ok::<_, Error>(0)
                })
            },
        )?
        .func_wrap(
            WASI,
            "environ_sizes_get",
            |mut caller: Call<'_>, count: u32, size: u32| {
                vm::current(|vm| {
                    if !vm.begin_call("environ_sizes_get") {
                        return Ok(u32::from(WASI_EINVAL));
                    }
                    let entries = vm.proxy().environment_entries();
                    let bytes: usize = entries.iter().map(Vec::len).sum();
                    let mut guest = Guest {
                        caller: &mut caller,
                    };
                    guest.write_u32(count, entries.len() as u32)?;
                    guest.write_u32(size, bytes as u32)?;
                    Ok::<_, Error>(0)
                })
            },
        )?
        .func_wrap(
            WASI,
            "environ_get",
            |mut caller: Call<'_>, places: u32, bytes: u32| {
                vm::current(|vm| {
                    if !vm.begin_call("environ_get") {
                        return Ok(u32::from(WASI_EINVAL));
                    }
                    let mut guest = Guest {
                        caller: &mut caller,
                    };
                    let (mut place, mut at) = (places, bytes);
                    for entry in vm.proxy().environment_entries() {
                        guest.write_u32(place, at)?;
                        guest.write(at, &entry)?;
                        place += 4;
                        at += entry.len() as u32;
                    }
                    Ok::<_, Error>(0)
                })
            },
        )?
        .func_wrap(
            WASI,
            "fd_write",
            |mut caller: Call<'_>, _file: u32, pieces: u32, count: u32, written: u32| {
                let mut guest = Guest {
                    caller: &mut caller,
                };
                let mut text = Vec::new();
                for piece in 0..count {
                    let piece = pieces + 8 * piece;
                    let (data, size) = (guest.read_u32(piece)?, guest.read_u32(piece + 4)?);
                    text.extend(guest.read(data, size)?);
                }
                guest.write_u32(written, text.len() as u32)?;
                let text = String::from_utf8_lossy(&text).into_owned();
                vm::current(|vm| vm.proxy().log_line(ERROR, text));
                Ok::<_, Error>(0u32)
            },
        )?
        .func_wrap(WASI, "proc_exit", |_: Call<'_>, status: u32| {
            Err::<(), _>(Error::i32_exit(status.cast_signed()))
        })
}
