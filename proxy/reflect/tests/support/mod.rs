//! A reflection client that knows nothing but what it was told: it reads every message by
//! the descriptors that the answers brought.
#![allow(dead_code, reason = "each test takes what it needs")]

use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, ServiceDescriptor, Value,
    prost::Message,
};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tollgate_reflect::{Reflection, Version};

/// What can be asked.
pub(crate) enum Question<'a> {
    /// By the member's name in the request, and its value.
    Text(&'a str, &'a str),
    /// Extended message and number.
    Extension(&'a str, i32),
}

/// Asks one pool. Reads what it hears by the descriptors of reflection itself.
pub(crate) struct Client<'a> {
    reflection: &'a Reflection,
    pool: DescriptorPool,
}

impl<'a> Client<'a> {
    /// A client that has fetched the descriptors of the built-in services. Their first
    /// requests are written by hand, since nothing is known yet.
    pub(crate) fn of(reflection: &'a Reflection) -> Self {
        let mut fetched = Vec::new();
        for name in [
            "grpc/health/v1/health.proto",
            "grpc/reflection/v1/reflection.proto",
            "grpc/reflection/v1alpha/reflection.proto",
        ] {
            let mut request = vec![0x1a, u8::try_from(name.len()).unwrap()];
            request.extend_from_slice(name.as_bytes());
            let answer = reflection.answer(&request, Version::V1);
            fetched.push(one_file(&answer));
        }
        let pool = link(&fetched);
        Self { reflection, pool }
    }

    pub(crate) fn message(&self, name: &str) -> MessageDescriptor {
        self.pool.get_message_by_name(name).unwrap()
    }

    pub(crate) fn services(&self) -> Vec<ServiceDescriptor> {
        self.pool.services().collect()
    }

    pub(crate) fn ask(&self, question: Question<'_>) -> DynamicMessage {
        self.ask_of(self.reflection, question)
    }

    /// Asks another pool.
    pub(crate) fn ask_of(&self, reflection: &Reflection, question: Question<'_>) -> DynamicMessage {
        let kind = self.message("grpc.reflection.v1.ServerReflectionRequest");
        let mut request = DynamicMessage::new(kind);
        match question {
            Question::Text(member, value) => {
                request.set_field_by_name(member, Value::String(value.to_owned()));
            }
            Question::Extension(of, number) => {
                let kind = self.message("grpc.reflection.v1.ExtensionRequest");
                let mut asked = DynamicMessage::new(kind);
                asked.set_field_by_name("containing_type", Value::String(of.to_owned()));
                asked.set_field_by_name("extension_number", Value::I32(number));
                request.set_field_by_name("file_containing_extension", Value::Message(asked));
            }
        }
        let answer = reflection.answer(&request.encode_to_vec(), Version::V1);
        let answer = self.read(&answer);
        let echo = answer.get_field_by_name("original_request").unwrap();
        assert_eq!(echo.as_message(), Some(&request));
        answer
    }

    pub(crate) fn ask_raw(&self, request: &[u8]) -> DynamicMessage {
        self.read(&self.reflection.answer(request, Version::V1Alpha))
    }

    fn read(&self, answer: &[u8]) -> DynamicMessage {
        let kind = self.message("grpc.reflection.v1.ServerReflectionResponse");
        let answer = DynamicMessage::decode(kind, answer).unwrap();
        assert_eq!(answer.unknown_fields().count(), 0);
        answer
    }
}

/// The one file of an answer, found without knowing its descriptor: field 4, and in it
/// field 1.
fn one_file(answer: &[u8]) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Files {
        #[prost(bytes = "vec", repeated, tag = "1")]
        file: Vec<Vec<u8>>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Answer {
        #[prost(message, required, tag = "4")]
        files: Files,
    }
    let mut files = Answer::decode(answer).unwrap().files.file;
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// A serialized set.
pub(crate) fn set(files: &[FileDescriptorProto]) -> Vec<u8> {
    FileDescriptorSet {
        file: files.to_vec(),
    }
    .encode_to_vec()
}

/// A pool of files that need nothing else.
pub(crate) fn link(files: &[Vec<u8>]) -> DescriptorPool {
    let file = files
        .iter()
        .map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap())
        .collect();
    DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file }).unwrap()
}

fn chosen<'a>(answer: &'a DynamicMessage, member: &str) -> Option<&'a DynamicMessage> {
    let field = answer.descriptor().get_field_by_name(member).unwrap();
    answer
        .fields()
        .find(|(set, _)| *set == field)?
        .1
        .as_message()
}

/// The code of an `error_response`.
pub(crate) fn code(answer: &DynamicMessage) -> Option<i32> {
    let code = chosen(answer, "error_response")?.get_field_by_name("error_code")?;
    code.as_i32()
}

/// The files of an answer.
pub(crate) fn files(answer: &DynamicMessage) -> Vec<Vec<u8>> {
    let files = chosen(answer, "file_descriptor_response").expect("files");
    let files = files.get_field_by_name("file_descriptor_proto").unwrap();
    let files = files.as_list().unwrap().iter();
    files
        .map(|file| file.as_bytes().unwrap().to_vec())
        .collect()
}

/// Their names.
pub(crate) fn file_names(answer: &DynamicMessage) -> Vec<String> {
    let name = |file: &Vec<u8>| {
        FileDescriptorProto::decode(file.as_slice())
            .unwrap()
            .name
            .unwrap()
    };
    files(answer).iter().map(name).collect()
}

/// A text member of each item of a list.
pub(crate) fn strings(answer: &DynamicMessage, of: &str, list: &str, member: &str) -> Vec<String> {
    let items = chosen(answer, of)
        .expect(of)
        .get_field_by_name(list)
        .unwrap();
    let text = |item: &Value| {
        let text = item
            .as_message()
            .unwrap()
            .get_field_by_name(member)
            .unwrap();
        text.as_str().unwrap().to_owned()
    };
    items.as_list().unwrap().iter().map(text).collect()
}

/// Type and numbers of an `all_extension_numbers_response`.
pub(crate) fn numbers(answer: &DynamicMessage) -> (String, Vec<i32>) {
    let numbers = chosen(answer, "all_extension_numbers_response").expect("numbers");
    let of = numbers.get_field_by_name("base_type_name").unwrap();
    let list = numbers.get_field_by_name("extension_number").unwrap();
    let list = list
        .as_list()
        .unwrap()
        .iter()
        .map(|number| number.as_i32().unwrap());
    (of.as_str().unwrap().to_owned(), list.collect())
}
