//! What a file defines, by full names.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

/// Full names without a leading dot.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// Everything with a name: messages, fields, oneofs, enums, their values, extensions,
    /// services and methods.
    pub(crate) names: Vec<String>,
    /// The messages among them.
    pub(crate) messages: Vec<String>,
    /// The services among them.
    pub(crate) services: Vec<String>,
    /// Extended message and number.
    pub(crate) extensions: Vec<(String, i32)>,
}

impl Symbols {
    pub(crate) fn of(file: &FileDescriptorProto) -> Self {
        let mut symbols = Self::default();
        let package = file.package();
        for message in &file.message_type {
            symbols.message(package, message);
        }
        for kind in &file.enum_type {
            symbols.enumeration(package, kind);
        }
        for field in &file.extension {
            symbols.extension(package, field);
        }
        for service in &file.service {
            let name = full(package, service.name());
            let methods = service.method.iter();
            symbols
                .names
                .extend(methods.map(|method| full(&name, method.name())));
            symbols.names.push(name.clone());
            symbols.services.push(name);
        }
        symbols
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = full(scope, message.name());
        for field in &message.field {
            self.names.push(full(&name, field.name()));
        }
        for oneof in &message.oneof_decl {
            self.names.push(full(&name, oneof.name()));
        }
        for nested in &message.nested_type {
            self.message(&name, nested);
        }
        for kind in &message.enum_type {
            self.enumeration(&name, kind);
        }
        for field in &message.extension {
            self.extension(&name, field);
        }
        self.names.push(name.clone());
        self.messages.push(name);
    }

    fn enumeration(&mut self, scope: &str, kind: &EnumDescriptorProto) {
        self.names.push(full(scope, kind.name()));
        // As in C++, a value stands beside its enum, not within it.
        for value in &kind.value {
            self.names.push(full(scope, value.name()));
        }
    }

    fn extension(&mut self, scope: &str, field: &FieldDescriptorProto) {
        self.names.push(full(scope, field.name()));
        let extendee = field.extendee();
        let extendee = extendee.strip_prefix('.').unwrap_or(extendee).to_owned();
        self.extensions.push((extendee, field.number()));
    }
}

/// The first definition of the top level that stands in one of two files of one name
/// only, or differs between them.
pub(crate) fn difference(one: &FileDescriptorProto, other: &FileDescriptorProto) -> Option<String> {
    fn unlike<'a, T: PartialEq>(
        one: &'a [T],
        other: &'a [T],
        name: impl Fn(&'a T) -> &'a str,
    ) -> Option<&'a str> {
        let lacks = |a: &'a [T], b: &'a [T]| a.iter().find(|item| !b.contains(item));
        lacks(one, other).or_else(|| lacks(other, one)).map(name)
    }
    if one.package != other.package {
        return Some(format!("package {}", other.package()));
    }
    unlike(&one.message_type, &other.message_type, |item| item.name())
        .or_else(|| unlike(&one.enum_type, &other.enum_type, |item| item.name()))
        .or_else(|| unlike(&one.service, &other.service, |item| item.name()))
        .or_else(|| unlike(&one.extension, &other.extension, |item| item.name()))
        .map(|name| full(one.package(), name))
}

fn full(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}
