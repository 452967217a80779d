//! Asks as a client does, and reads the answers by the descriptors that it was given.

mod support;

use proptest::prelude::*;
use support::{Client, code, file_names, set, strings};
use tollgate_reflect::{Conflict, Reflection, Version};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
};

fn named<T: Default>(name: &str, put: impl Fn(&mut T, Option<String>)) -> T {
    let mut item = T::default();
    put(&mut item, Some(name.to_owned()));
    item
}

fn message(name: &str, fields: &[&str]) -> DescriptorProto {
    DescriptorProto {
        field: fields
            .iter()
            .map(|name| {
                named(name, |field: &mut FieldDescriptorProto, name| {
                    field.name = name
                })
            })
            .collect(),
        ..named(name, |message: &mut DescriptorProto, name| {
            message.name = name
        })
    }
}

fn file(name: &str, package: &str, imports: &[&str], messages: &[&str]) -> FileDescriptorProto {
    FileDescriptorProto {
        package: Some(package.to_owned()),
        dependency: imports.iter().map(|&import| import.to_owned()).collect(),
        message_type: messages.iter().map(|name| message(name, &[])).collect(),
        ..named(name, |file: &mut FileDescriptorProto, name| {
            file.name = name
        })
    }
}

/// A file with one of everything that has a name.
fn everything() -> FileDescriptorProto {
    let mut outer = message("Outer", &["plain"]);
    outer.oneof_decl = vec![named("choice", |oneof: &mut OneofDescriptorProto, name| {
        oneof.name = name;
    })];
    outer.nested_type = vec![message("Inner", &["deep"])];
    outer.enum_type = vec![EnumDescriptorProto {
        value: vec![named(
            "LOW",
            |value: &mut EnumValueDescriptorProto, name| value.name = name,
        )],
        ..named("Level", |kind: &mut EnumDescriptorProto, name| {
            kind.name = name
        })
    }];
    let extension = |name: &str, number| FieldDescriptorProto {
        number: Some(number),
        extendee: Some(".all.Outer".to_owned()),
        ..named(name, |field: &mut FieldDescriptorProto, name| {
            field.name = name
        })
    };
    outer.extension = vec![extension("within", 200)];
    let mut file = file("all.proto", "all", &[], &[]);
    file.message_type = vec![outer];
    file.extension = vec![extension("beside", 100)];
    file.service = vec![ServiceDescriptorProto {
        method: vec![named("Do", |method: &mut MethodDescriptorProto, name| {
            method.name = name
        })],
        ..named("Service", |service: &mut ServiceDescriptorProto, name| {
            service.name = name
        })
    }];
    file
}

fn merged(files: &[FileDescriptorProto]) -> Reflection {
    Reflection::new(&[&set(files)]).unwrap()
}

#[test]
fn services_are_listed_sorted_with_our_own() {
    let reflection = merged(&[everything()]);
    let all = [
        "all.Service",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    assert_eq!(reflection.services(), all);
    let client = Client::of(&reflection);
    let answer = client.ask(text("list_services", "*"));
    assert_eq!(
        strings(&answer, "list_services_response", "service", "name"),
        all
    );
    assert_eq!(Reflection::default().services(), &all[1..]);
}

fn text<'a>(field: &'a str, value: &'a str) -> support::Question<'a> {
    support::Question::Text(field, value)
}

#[test]
fn every_kind_of_symbol_leads_to_its_file() {
    let reflection = merged(&[everything(), file("other.proto", "all", &[], &["Other"])]);
    let client = Client::of(&reflection);
    for symbol in [
        "all.Outer",
        "all.Outer.plain",
        "all.Outer.choice",
        "all.Outer.Inner",
        "all.Outer.Inner.deep",
        "all.Outer.Level",
        "all.Outer.LOW",
        "all.Outer.within",
        "all.beside",
        "all.Service",
        "all.Service.Do",
        ".all.Service",
    ] {
        let answer = client.ask(text("file_containing_symbol", symbol));
        assert_eq!(file_names(&answer), ["all.proto"], "{symbol}");
    }
    for symbol in [
        "all",
        "all.Level",
        "Outer",
        "all.Service/Do",
        "",
        "all.Outer.",
    ] {
        let answer = client.ask(text("file_containing_symbol", symbol));
        assert_eq!(code(&answer), Some(5), "{symbol}");
    }
}

#[test]
fn extensions_are_found_by_number_and_numbers_by_message() {
    let reflection = merged(&[everything(), file("bare.proto", "bare", &[], &["Bare"])]);
    let client = Client::of(&reflection);
    for number in [100, 200] {
        let answer = client.ask(support::Question::Extension("all.Outer", number));
        assert_eq!(file_names(&answer), ["all.proto"]);
    }
    let answer = client.ask(support::Question::Extension("all.Outer", 101));
    assert_eq!(code(&answer), Some(5));

    let numbers = |of| client.ask(text("all_extension_numbers_of_type", of));
    assert_eq!(
        support::numbers(&numbers("all.Outer")),
        ("all.Outer".to_owned(), vec![100, 200])
    );
    assert_eq!(
        support::numbers(&numbers("bare.Bare")),
        ("bare.Bare".to_owned(), vec![])
    );
    assert_eq!(code(&numbers("all.Service")), Some(5));
}

#[test]
fn a_file_comes_with_its_imports_itself_first_each_once() {
    let reflection = merged(&[
        file("base.proto", "p", &["absent.proto"], &["Base"]),
        file("left.proto", "p", &["base.proto"], &["Left"]),
        file(
            "right.proto",
            "p",
            &["base.proto", "left.proto"],
            &["Right"],
        ),
        file("top.proto", "p", &["left.proto", "right.proto"], &["Top"]),
        file("aside.proto", "p", &[], &["Aside"]),
    ]);
    let client = Client::of(&reflection);
    let answer = client.ask(text("file_by_filename", "top.proto"));
    let order = ["top.proto", "left.proto", "right.proto", "base.proto"];
    assert_eq!(file_names(&answer), order);
    let answer = client.ask(text("file_by_filename", "absent.proto"));
    assert_eq!(code(&answer), Some(5));
}

#[test]
fn files_that_import_each_other_do_not_go_round_for_ever() {
    let reflection = merged(&[
        file("a.proto", "p", &["b.proto"], &[]),
        file("b.proto", "p", &["a.proto", "b.proto"], &[]),
    ]);
    let answer = Client::of(&reflection).ask(text("file_by_filename", "b.proto"));
    assert_eq!(file_names(&answer), ["b.proto", "a.proto"]);
}

#[test]
fn what_is_no_question_is_told_so_and_echoed_where_it_can_be() {
    let reflection = Reflection::default();
    let client = Client::of(&reflection);
    assert_eq!(code(&client.ask_raw(b"\x0a\x03abc")), Some(3));
    assert_eq!(code(&client.ask_raw(b"")), Some(3));
    assert_eq!(code(&client.ask_raw(&[0xff])), Some(3));
    let answer = client.ask_raw(b"\x0a\x03abc\x22\x01x");
    let host = answer.get_field_by_name("valid_host").unwrap();
    assert_eq!(host.as_str(), Some("abc"));
    let asked = answer.get_field_by_name("original_request").unwrap();
    let symbol = asked
        .as_message()
        .unwrap()
        .get_field_by_name("file_containing_symbol");
    assert_eq!(symbol.unwrap().as_str(), Some("x"));
}

#[test]
fn both_versions_answer_alike() {
    let reflection = merged(&[everything()]);
    let ask = |version| reflection.answer(b"\x3a\x00", version);
    assert_eq!(ask(Version::V1), ask(Version::V1Alpha));
}

#[test]
fn options_that_nobody_here_knows_reach_the_client() {
    use prost_reflect::prost::Message;
    // Field 8 (options) of a file, with an extension number that is not declared.
    let mut bytes = file("o.proto", "o", &[], &["O"]).encode_to_vec();
    bytes.extend_from_slice(&[0x42, 0x04, 0xf8, 0xa1, 0x0f, 0x07]);
    let mut set = vec![0x0a, u8::try_from(bytes.len()).unwrap()];
    set.extend_from_slice(&bytes);
    let reflection = Reflection::new(&[&set]).unwrap();
    let answer = Client::of(&reflection).ask(text("file_by_filename", "o.proto"));
    assert_eq!(support::files(&answer), [bytes]);
}

#[test]
fn the_same_file_twice_is_one_file_whatever_its_comments() {
    let one = everything();
    let mut commented = everything();
    commented.source_code_info = Some(Default::default());
    let reflection =
        Reflection::new(&[&set(std::slice::from_ref(&one)), &set(&[commented, one])]).unwrap();
    let listed = reflection
        .services()
        .iter()
        .filter(|name| *name == "all.Service");
    assert_eq!(listed.count(), 1);
}

#[test]
fn conflicts_name_the_symbol_and_both_files() {
    let conflict = |one: FileDescriptorProto, other| {
        Reflection::new(&[&set(&[one]), &set(&[other])]).unwrap_err()
    };
    let symbol = conflict(
        file("a.proto", "p", &[], &["One", "Two"]),
        file("b.proto", "p", &[], &["Three", "Two"]),
    );
    assert_eq!(
        symbol.to_string(),
        "p.Two is defined in a.proto and in b.proto"
    );

    let file_name = conflict(
        file("a.proto", "p", &[], &["One", "Two"]),
        file("a.proto", "p", &[], &["One", "Too"]),
    );
    let told = "a.proto comes in two versions that differ in p.Two";
    assert_eq!(file_name.to_string(), told);
    let imports = conflict(
        file("a.proto", "p", &[], &["One"]),
        file("a.proto", "p", &["b.proto"], &["One"]),
    );
    assert!(
        imports
            .to_string()
            .ends_with("differ in syntax, imports or options")
    );

    let mut again = file("b.proto", "q", &[], &[]);
    again.extension = everything().extension;
    let extension = conflict(everything(), again);
    let told = "extension 100 of all.Outer is defined in all.proto and in b.proto";
    assert_eq!(extension.to_string(), told);
}

#[test]
fn malformed_sets_are_refused() {
    for set in [&b"\x0a\x05abc"[..], b"\x0a\x02\xff\xff", b"\xff"] {
        let refused = Reflection::new(&[set]);
        assert!(
            matches!(refused, Err(Conflict::Malformed { .. })),
            "{set:?}"
        );
    }
    let nameless = FileDescriptorProto::default();
    let refused = Reflection::new(&[&set(&[nameless])]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a descriptor set is malformed: a file has no name"
    );
}

#[test]
fn a_symbol_that_stands_twice_in_one_file_is_refused() {
    // Twice in one file: the file is named as both.
    let twice = file("a.proto", "p", &[], &["One", "One"]);
    let refused = Reflection::new(&[&set(&[twice])]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "p.One is defined in a.proto and in a.proto"
    );
}

#[test]
fn a_plugin_may_bring_the_public_health_file_itself() {
    let mut theirs = file(
        "grpc/health/v1/health.proto",
        "grpc.health.v1",
        &[],
        &["Theirs"],
    );
    theirs.service = vec![named(
        "Health",
        |service: &mut ServiceDescriptorProto, name| {
            service.name = name;
        },
    )];
    let reflection = merged(&[theirs]);
    let ours = Reflection::default();
    let client = Client::of(&ours);
    let answer = client.ask_of(
        &reflection,
        text("file_containing_symbol", "grpc.health.v1.Theirs"),
    );
    assert_eq!(file_names(&answer), ["grpc/health/v1/health.proto"]);
}

/// Up to eight files that import only earlier ones, each with a message of its own.
fn graphs() -> impl Strategy<Value = Vec<Vec<bool>>> {
    (1_usize..8).prop_flat_map(|count| {
        let edges = |at: usize| prop::collection::vec(any::<bool>(), at);
        (0..count).map(edges).collect::<Vec<_>>()
    })
}

proptest! {
    #[test]
    fn every_closure_links_and_the_order_of_sets_changes_nothing(graph in graphs(), seed: u64) {
        let files: Vec<_> = graph.iter().enumerate().map(|(at, edges)| {
            let imports: Vec<String> = edges.iter().enumerate()
                .filter(|(_, there)| **there)
                .map(|(import, _)| format!("{import}.proto"))
                .collect();
            let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
            file(&format!("{at}.proto"), "p", &imports, &[&format!("M{at}")])
        }).collect();
        let one = merged(&files);
        let mut sets: Vec<Vec<u8>> = files.iter().map(|file| set(std::slice::from_ref(file))).collect();
        let turn = usize::try_from(seed % sets.len() as u64).unwrap();
        sets.rotate_left(turn);
        sets.push(sets[0].clone());
        let sets: Vec<&[u8]> = sets.iter().map(Vec::as_slice).collect();
        let other = Reflection::new(&sets).unwrap();

        let client = Client::of(&one);
        for at in 0..files.len() {
            let (name, symbol) = (format!("{at}.proto"), format!("p.M{at}"));
            let by_name = client.ask(text("file_by_filename", &name));
            let by_symbol = client.ask(text("file_containing_symbol", &symbol));
            prop_assert_eq!(support::files(&by_name), support::files(&by_symbol));
            let elsewhere = client.ask_of(&other, text("file_by_filename", &name));
            prop_assert_eq!(support::files(&by_name), support::files(&elsewhere));
            // All that is needed is there, and the file that was asked for stands first.
            let pool = support::link(&support::files(&by_name));
            prop_assert!(pool.get_message_by_name(&symbol).is_some());
            prop_assert_eq!(&file_names(&by_name)[0], &name);
        }
    }

    #[test]
    fn no_request_and_no_set_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let reflection = Reflection::default();
        let _ = Client::of(&reflection).ask_raw(&bytes);
        let _ = Reflection::new(&[&bytes]);
    }
}
