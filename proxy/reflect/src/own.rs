//! The descriptors of the services that are answered here, under the names that their
//! public files have, so that clients find what they know.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Health, and reflection in both versions.
pub(crate) fn files() -> [FileDescriptorProto; 3] {
    [health(), reflection("v1"), reflection("v1alpha")]
}

fn health() -> FileDescriptorProto {
    let package = "grpc.health.v1";
    let status = EnumDescriptorProto {
        name: Some("ServingStatus".to_owned()),
        value: ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
            .into_iter()
            .zip(0..)
            .map(|(name, number)| EnumValueDescriptorProto {
                name: Some(name.to_owned()),
                number: Some(number),
                options: None,
            })
            .collect(),
        ..Default::default()
    };
    let response = "HealthCheckResponse";
    let messages = vec![
        message(
            "HealthCheckRequest",
            vec![field("service", 1, Type::String)],
        ),
        DescriptorProto {
            enum_type: vec![status],
            ..message(
                response,
                vec![FieldDescriptorProto {
                    type_name: Some(format!(".{package}.{response}.ServingStatus")),
                    ..field("status", 1, Type::Enum)
                }],
            )
        },
    ];
    let method = |name, server_streaming| {
        method(
            package,
            name,
            ("HealthCheckRequest", response),
            (false, server_streaming),
        )
    };
    let methods = vec![method("Check", false), method("Watch", true)];
    file(
        "grpc/health/v1/health.proto",
        package,
        messages,
        service("Health", methods),
    )
}

fn reflection(version: &str) -> FileDescriptorProto {
    let package = &format!("grpc.reflection.{version}");
    let of = |kind: &str, name, number| FieldDescriptorProto {
        type_name: Some(format!(".{package}.{kind}")),
        ..field(name, number, Type::Message)
    };
    let messages = vec![
        choosing(
            "ServerReflectionRequest",
            vec![field("host", 1, Type::String)],
            "message_request",
            vec![
                field("file_by_filename", 3, Type::String),
                field("file_containing_symbol", 4, Type::String),
                of("ExtensionRequest", "file_containing_extension", 5),
                field("all_extension_numbers_of_type", 6, Type::String),
                field("list_services", 7, Type::String),
            ],
        ),
        message(
            "ExtensionRequest",
            vec![
                field("containing_type", 1, Type::String),
                field("extension_number", 2, Type::Int32),
            ],
        ),
        choosing(
            "ServerReflectionResponse",
            vec![
                field("valid_host", 1, Type::String),
                of("ServerReflectionRequest", "original_request", 2),
            ],
            "message_response",
            vec![
                of("FileDescriptorResponse", "file_descriptor_response", 4),
                of(
                    "ExtensionNumberResponse",
                    "all_extension_numbers_response",
                    5,
                ),
                of("ListServiceResponse", "list_services_response", 6),
                of("ErrorResponse", "error_response", 7),
            ],
        ),
        message(
            "FileDescriptorResponse",
            vec![repeated(field("file_descriptor_proto", 1, Type::Bytes))],
        ),
        message(
            "ExtensionNumberResponse",
            vec![
                field("base_type_name", 1, Type::String),
                repeated(field("extension_number", 2, Type::Int32)),
            ],
        ),
        message(
            "ListServiceResponse",
            vec![repeated(of("ServiceResponse", "service", 1))],
        ),
        message("ServiceResponse", vec![field("name", 1, Type::String)]),
        message(
            "ErrorResponse",
            vec![
                field("error_code", 1, Type::Int32),
                field("error_message", 2, Type::String),
            ],
        ),
    ];
    let info = method(
        package,
        "ServerReflectionInfo",
        ("ServerReflectionRequest", "ServerReflectionResponse"),
        (true, true),
    );
    let name = format!("grpc/reflection/{version}/reflection.proto");
    file(
        &name,
        package,
        messages,
        service("ServerReflection", vec![info]),
    )
}

fn file(
    name: &str,
    package: &str,
    message_type: Vec<DescriptorProto>,
    service: ServiceDescriptorProto,
) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        message_type,
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    }
}

fn service(name: &str, method: Vec<MethodDescriptorProto>) -> ServiceDescriptorProto {
    ServiceDescriptorProto {
        name: Some(name.to_owned()),
        method,
        options: None,
    }
}

/// A method from one type to another; the client's and the server's side may stream.
fn method(
    package: &str,
    name: &str,
    (input, output): (&str, &str),
    (client, server): (bool, bool),
) -> MethodDescriptorProto {
    MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(format!(".{package}.{input}")),
        output_type: Some(format!(".{package}.{output}")),
        options: None,
        client_streaming: client.then_some(true),
        server_streaming: server.then_some(true),
    }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..Default::default()
    }
}

/// A message with fields of its own and one oneof.
fn choosing(
    name: &str,
    mut fields: Vec<FieldDescriptorProto>,
    oneof: &str,
    mut choices: Vec<FieldDescriptorProto>,
) -> DescriptorProto {
    for choice in &mut choices {
        choice.oneof_index = Some(0);
    }
    fields.append(&mut choices);
    DescriptorProto {
        oneof_decl: vec![OneofDescriptorProto {
            name: Some(oneof.to_owned()),
            options: None,
        }],
        ..message(name, fields)
    }
}

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        json_name: Some(camel(name)),
        ..Default::default()
    }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto {
        label: Some(Label::Repeated.into()),
        ..field
    }
}

/// The name that a field has in JSON: `list_services` is `listServices`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut camel, word| {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
        camel
    })
}
