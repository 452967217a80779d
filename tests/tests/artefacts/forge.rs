//! Makes components of any shape: right by their types and wrong in what they do.
//!
//! 1. The contract's own text says which functions a world exports, and with which core types.
//! 2. Each becomes a function in WebAssembly text, by default one that traps; bodies, memory and
//!    data are a test's to choose. A manifest of nothing but zeros is an empty one, and a
//!    configuration of zeros is accepted and claims nothing.
//! 3. What comes of it is encoded as a component, which is validated, or left as a module.

use std::{collections::BTreeMap, fmt::Write};

use tollgate_tests::place;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, Resolve, WasmExport, WasmExportKind, WorldId, WorldItem,
    abi::{AbiVariant, WasmType},
};

const MANGLING: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// Where answers of zeros lie, and where the host may put arguments.
const ZEROS: &str = "i32.const 1024";
const ARGUMENTS: &str = "i32.const 65536";

/// A component to be made.
pub(crate) struct Forge {
    world: &'static str,
    pages: u32,
    bodies: BTreeMap<String, String>,
    /// Fields of the module, as text.
    more: String,
    /// Rewrites the contract before it is parsed, for a plugin built against another.
    contract: fn(&str, String) -> String,
}

impl Forge {
    /// One that loads, of a world.
    pub(crate) fn new(world: &'static str) -> Self {
        Self {
            world,
            pages: 2,
            bodies: BTreeMap::new(),
            more: String::new(),
            contract: |_, text| text,
        }
        .body("describe", ZEROS)
        .body("configure", ZEROS)
        .body("cabi_realloc", ARGUMENTS)
        .body("_initialize", "")
    }

    /// What a function does, by its name in the interface `plugin`, or one of the module's own.
    pub(crate) fn body(mut self, name: &str, body: &str) -> Self {
        self.bodies.insert(name.to_owned(), body.to_owned());
        self
    }

    /// Pages of memory at the start.
    pub(crate) fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// More fields of the module.
    pub(crate) fn with(mut self, field: &str) -> Self {
        self.more.push_str(field);
        self
    }

    /// Built against a contract of which a file reads otherwise.
    pub(crate) fn contract(mut self, rewrite: fn(&str, String) -> String) -> Self {
        self.contract = rewrite;
        self
    }

    /// The core module, with what it is to become in a section.
    pub(crate) fn module(&self) -> Vec<u8> {
        let (resolve, world) = self.resolve();
        let mut text = String::from("(module\n");
        let memory = resolve.wasm_export_name(MANGLING, WasmExport::Memory);
        let _ = writeln!(text, "(memory (export {memory:?}) {})", self.pages);
        for (key, item) in &resolve.worlds[world].exports {
            let WorldItem::Interface { id, .. } = item else {
                panic!("worlds of the contract export interfaces");
            };
            for function in resolve.interfaces[*id].functions.values() {
                let export = WasmExport::Func {
                    interface: Some(key),
                    func: function,
                    kind: WasmExportKind::Normal,
                };
                let name = resolve.wasm_export_name(MANGLING, export);
                let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
                let (_, short) = name.split_once('#').expect("interface and function");
                let body = self.bodies.get(short).map_or("unreachable", String::as_str);
                self.function(
                    &mut text,
                    &name,
                    &signature.params,
                    &signature.results,
                    body,
                );
            }
        }
        let i32s = [WasmType::I32; 4];
        for (name, params, results) in [("cabi_realloc", 4, 1), ("_initialize", 0, 0)] {
            self.function(
                &mut text,
                name,
                &i32s[..params],
                &i32s[..results],
                &self.bodies[name],
            );
        }
        text.push_str(&self.more);
        text.push(')');
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .expect("the module takes it");
        module
    }

    /// The component.
    pub(crate) fn build(&self) -> Vec<u8> {
        let encoded = ComponentEncoder::default()
            .validate(true)
            .module(&self.module())
            .and_then(|encoder| encoder.encode());
        encoded.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn function(
        &self,
        text: &mut String,
        name: &str,
        params: &[WasmType],
        results: &[WasmType],
        body: &str,
    ) {
        let list = |what: &str, types: &[WasmType]| match types.is_empty() {
            true => String::new(),
            false => {
                let types: Vec<_> = types.iter().map(|it| core(*it)).collect();
                format!(" ({what} {})", types.join(" "))
            }
        };
        let (params, results) = (list("param", params), list("result", results));
        let _ = writeln!(text, "(func (export {name:?}){params}{results} {body})");
    }

    fn resolve(&self) -> (Resolve, WorldId) {
        let folder = place::root().join("wit");
        let mut group = String::new();
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .expect("the contract")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|end| end == "wit"))
            .collect();
        files.sort();
        let copy = tempfile::tempdir().expect("temporary files have a place");
        for file in files {
            let name = file.file_name().and_then(|it| it.to_str()).expect("a name");
            let text = std::fs::read_to_string(&file).expect("readable");
            std::fs::write(copy.path().join(name), (self.contract)(name, text)).expect("written");
            group.push_str(name);
        }
        assert!(group.contains("worlds.wit"), "{group}");
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(copy.path()).expect("the contract parses");
        let world = resolve.packages[package].worlds[self.world];
        (resolve, world)
    }
}

fn core(kind: WasmType) -> &'static str {
    match kind {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

/// A component that imports an instance of that name with one function, and exports what a
/// protocol exports, by name.
pub(crate) fn importing(import: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (import "{import}" (instance (export "f" (func (result u64)))))
  {PROTOCOL}
)"#
    );
    wat::parse_str(text).expect("it is WebAssembly as text")
}

/// Exports what a protocol exports, by name, with nothing in it.
pub(crate) const PROTOCOL: &str = r#"
  (component $nothing)
  (instance $empty (instantiate $nothing))
  (export "tollgate:plugin/plugin@0.1.0" (instance $empty))
  (export "tollgate:plugin/frontend@0.1.0" (instance $empty))
  (export "tollgate:plugin/backend@0.1.0" (instance $empty))"#;

/// A component of text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
