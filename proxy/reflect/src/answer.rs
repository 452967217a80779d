//! One question of a reflection client, and its answer.

use bytes::Bytes;
use prost::Message;

use crate::{
    messages::{
        Answer, ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse,
        ListServiceResponse, Question, ServerReflectionRequest, ServerReflectionResponse,
        ServiceResponse,
    },
    pool::Pool,
};

/// gRPC status codes that an `error_response` carries.
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;

pub(crate) fn answer(pool: &Pool, request: &[u8]) -> Bytes {
    let response = match ServerReflectionRequest::decode(request) {
        Ok(request) => ServerReflectionResponse {
            valid_host: request.host.clone(),
            message_response: Some(request.message_request.as_ref().map_or_else(
                || {
                    error(
                        INVALID_ARGUMENT,
                        "the request asks for nothing known".into(),
                    )
                },
                |question| find(pool, question),
            )),
            original_request: Some(request),
        },
        Err(problem) => ServerReflectionResponse {
            message_response: Some(error(
                INVALID_ARGUMENT,
                format!("no ServerReflectionRequest: {problem}"),
            )),
            ..Default::default()
        },
    };
    response.encode_to_vec().into()
}

fn find(pool: &Pool, question: &Question) -> Answer {
    match question {
        Question::FileByFilename(name) => files(pool, pool.file(name), || format!("file `{name}`")),
        Question::FileContainingSymbol(symbol) => {
            // Inside descriptors a full name begins with a dot, and some clients keep it.
            let bare = symbol.strip_prefix('.').unwrap_or(symbol);
            files(pool, pool.file_of_symbol(bare), || {
                format!("symbol `{symbol}`")
            })
        }
        Question::FileContainingExtension(asked) => {
            let (of, number) = (&asked.containing_type, asked.extension_number);
            files(pool, pool.file_of_extension(of, number), || {
                format!("extension {number} of `{of}`")
            })
        }
        Question::AllExtensionNumbersOfType(of) => match pool.extension_numbers(of) {
            Some(extension_number) => Answer::ExtensionNumbers(ExtensionNumberResponse {
                base_type_name: of.clone(),
                extension_number,
            }),
            None => error(NOT_FOUND, format!("no message `{of}`")),
        },
        Question::ListServices(_) => Answer::Services(ListServiceResponse {
            service: pool
                .services()
                .iter()
                .map(|name| ServiceResponse { name: name.clone() })
                .collect(),
        }),
    }
}

/// The file and all that it needs, so that a client has nothing left to ask.
fn files(pool: &Pool, file: Option<&str>, what: impl Fn() -> String) -> Answer {
    match file {
        Some(file) => Answer::Files(FileDescriptorResponse {
            file_descriptor_proto: pool.with_dependencies(file),
        }),
        None => error(NOT_FOUND, format!("no {}", what())),
    }
}

fn error(error_code: i32, error_message: String) -> Answer {
    Answer::Error(ErrorResponse {
        error_code,
        error_message,
    })
}
