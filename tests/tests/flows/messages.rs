//! The messages of Parcel over gRPC, and what reflection asks and answers.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GenerateRequest {
    #[prost(string, tag = "1")]
    pub(crate) model: String,
    #[prost(string, tag = "2")]
    pub(crate) prompt: String,
    #[prost(uint32, tag = "3")]
    pub(crate) max: u32,
    #[prost(bool, tag = "4")]
    pub(crate) usage: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GenerateReply {
    #[prost(string, tag = "1")]
    pub(crate) model: String,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
    #[prost(string, tag = "3")]
    pub(crate) why: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) usage: Option<Usage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Usage {
    #[prost(uint64, tag = "1")]
    pub(crate) read: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) written: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorRequest {
    #[prost(string, tag = "1")]
    pub(crate) model: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
    #[prost(string, tag = "4")]
    pub(crate) datatype: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorReply {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(int64, repeated, tag = "2")]
    pub(crate) shape: Vec<i64>,
    #[prost(string, tag = "3")]
    pub(crate) datatype: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Question {
    #[prost(string, tag = "1")]
    pub(crate) sequence: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(string, tag = "3")]
    pub(crate) model: String,
    #[prost(string, tag = "4")]
    pub(crate) prompt: String,
    #[prost(uint32, tag = "5")]
    pub(crate) max: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
    #[prost(string, tag = "3")]
    pub(crate) why: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) error: Option<Failed>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Failed {
    #[prost(uint32, tag = "1")]
    pub(crate) code: u32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadyReply {
    #[prost(bool, tag = "1")]
    pub(crate) ready: bool,
    #[prost(uint32, tag = "2")]
    pub(crate) queued: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) running: u32,
    #[prost(string, repeated, tag = "4")]
    pub(crate) models: Vec<String>,
}

/// `grpc.reflection.v1.ServerReflectionRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReflectionRequest {
    #[prost(string, optional, tag = "4")]
    pub(crate) file_containing_symbol: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(crate) list_services: Option<String>,
}

/// `grpc.reflection.v1.ServerReflectionResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReflectionResponse {
    #[prost(message, optional, tag = "4")]
    pub(crate) files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    pub(crate) services: Option<Services>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) descriptors: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Services {
    #[prost(message, repeated, tag = "1")]
    pub(crate) service: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Service {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// `grpc.health.v1.HealthCheckRequest`, and its answer with 1 for serving.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Health {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthReply {
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}
