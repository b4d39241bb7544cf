//! A second engine for the filter: its `.wasm` file, the very bytes that ship, in the interpreter
//! wasmi, behind the same simulated host. Where the filter is linked natively, addresses are
//! pointers and there is one dispatcher in each thread; here each VM has its own memory, and a trap
//! would be one. What differs between the two is a defect of the simulator, or undefined behaviour
//! of the filter.
//!
//! `imports` has the host calls, over the same state as those of `abi`.

use anyhow::{Context, Result, anyhow, ensure};
use std::cell::RefCell;
use std::fmt;
use wasmi::{Config, Engine, Linker, Memory, Store, TypedFunc, Val};

/// How deep the module's functions may call each other: regexes and JSON are read by recursion. A
/// proxy's engine has a stack of 1 MiB or so.
const DEEPEST: usize = 10_000;
/// The name of the module's memory, and of the function that allocates in it.
const MEMORY: &str = "memory";
const ALLOCATE: &str = "proxy_on_memory_allocate";
/// What starts a module that has no `main`.
const INITIALIZE: &str = "_initialize";

/// A module that VMs can be made of. Clones share it.
#[derive(Clone)]
pub struct Module {
    engine: Engine,
    module: wasmi::Module,
    link: Link,
}

/// What a panic carries where a module trapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The callback that it trapped in: `proxy_on_request_headers`.
    pub callback: String,
    /// What the engine says of it.
    pub what: String,
    /// The last message of the module before it. Empty: it said nothing.
    pub last_words: String,
}

impl fmt::Display for Trap {
    /// What happened, and what a proxy would do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the module trapped in {}: {}", self.callback, self.what)?;
        for line in self.last_words.lines() {
            writeln!(f, "  {line}")?;
        }
        let is_early = [
            "its start",
            INITIALIZE,
            "proxy_on_vm_start",
            "proxy_on_configure",
        ]
        .contains(&&*self.callback);
        match is_early {
            true => f.write_str(
                "A proxy refuses such a filter: it does not start with it, and on an update it \
                 goes on with the one before.",
            ),
            false => f.write_str(
                "In a proxy this VM is dead: the request at hand is answered 503. What its worker \
                 does next is said by `failure_policy`: FAIL_RELOAD makes a new VM for the next \
                 request, FAIL_CLOSED answers every later one 503, and FAIL_OPEN lets them go on \
                 undecided.",
            ),
        }
    }
}

/// Gives a module what it imports. Error: it imports something else.
pub(super) type Link = fn(&Engine, &wasmi::Module) -> Result<Linker<Exports>>;

impl Module {
    /// A module from its bytes. Error: it is none, it imports what `link` does not have, or it does
    /// not export what every host needs.
    pub(super) fn new(bytes: &[u8], link: Link) -> Result<Module> {
        let mut config = Config::default();
        config.set_max_recursion_depth(DEEPEST);
        let engine = Engine::new(&config);
        let module = wasmi::Module::new(&engine, bytes)
            .map_err(|error| anyhow!("{error}"))
            .context("not a module of WebAssembly")?;
        for name in [MEMORY, ALLOCATE, "proxy_on_context_create"] {
            ensure!(
                module.get_export(name).is_some(),
                "it does not export {name}, as a module of proxy-wasm does"
            );
        }
        link(&engine, &module)?;
        Ok(Module {
            engine,
            module,
            link,
        })
    }
}

/// What the host keeps for a VM's module: what its calls need of it.
#[derive(Default)]
pub(super) struct Exports {
    pub(super) memory: Option<Memory>,
    pub(super) allocate: Option<TypedFunc<u32, u32>>,
    /// The last message of the level of a panic.
    pub(super) last_words: String,
}

/// A module in a VM.
pub(super) struct Instance {
    store: RefCell<Store<Exports>>,
    instance: wasmi::Instance,
}

impl Instance {
    /// A fresh instance. Call [`Instance::initialize`] before anything else.
    pub(super) fn of(module: &Module) -> Instance {
        let start = || -> Result<Instance> {
            let linker = (module.link)(&module.engine, &module.module)?;
            let mut store = Store::new(&module.engine, Exports::default());
            let instance = linker
                .instantiate_and_start(&mut store, &module.module)
                .map_err(|error| anyhow!("{error}"))?;
            let memory = instance.get_memory(&store, MEMORY);
            let allocate = instance.get_typed_func::<u32, u32>(&store, ALLOCATE);
            store.data_mut().memory = memory;
            store.data_mut().allocate = Some(allocate.map_err(|error| anyhow!("{error}"))?);
            Ok(Instance {
                store: RefCell::new(store),
                instance,
            })
        };
        start().unwrap_or_else(|error| {
            std::panic::panic_any(Trap {
                callback: "its start".to_owned(),
                what: format!("{error:#}"),
                last_words: String::new(),
            })
        })
    }

    /// Runs what the module does once before all callbacks.
    pub(super) fn initialize(&self) {
        self.call(INITIALIZE, &[]);
    }

    /// Calls an export with numbers of 32 bits. None: the module has no such export, so that a proxy
    /// would not call it, or it returns nothing.
    ///
    /// # Panics
    /// With a [`Trap`], where the module traps: natively a panic of the filter ends the process too.
    pub(super) fn call(&self, name: &str, arguments: &[u32]) -> Option<u32> {
        let store = &mut *self.store.borrow_mut();
        let function = self.instance.get_func(&mut *store, name)?;
        let results = function.ty(&*store).results().len();
        let arguments: Vec<Val> = arguments
            .iter()
            .map(|argument| Val::I32(argument.cast_signed()))
            .collect();
        let mut returned = vec![Val::I32(0); results];
        if let Err(error) = function.call(&mut *store, &arguments, &mut returned) {
            std::panic::panic_any(Trap {
                callback: name.to_owned(),
                what: error.to_string(),
                last_words: store.data().last_words.clone(),
            });
        }
        match returned.first() {
            Some(Val::I32(value)) => Some(value.cast_unsigned()),
            _ => None,
        }
    }
}
