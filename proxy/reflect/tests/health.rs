//! Health by the descriptors that reflection shows for it.

mod support;

use prost_reflect::{DynamicMessage, Value, prost::Message};
use support::Client;
use tollgate_reflect::{
    Reflection,
    health::{self, Serving},
    paths,
};

fn request(client: &Client<'_>, service: &str) -> Vec<u8> {
    let kind = client.message("grpc.health.v1.HealthCheckRequest");
    let mut request = DynamicMessage::new(kind);
    request.set_field_by_name("service", Value::String(service.to_owned()));
    request.encode_to_vec()
}

fn status(client: &Client<'_>, response: &[u8]) -> String {
    let kind = client.message("grpc.health.v1.HealthCheckResponse");
    let response = DynamicMessage::decode(kind.clone(), response).unwrap();
    let number = response
        .get_field_by_name("status")
        .unwrap()
        .as_enum_number()
        .unwrap();
    let status = kind.child_enums().next().unwrap();
    status.get_value(number).unwrap().name().to_owned()
}

#[test]
fn a_check_tells_how_a_service_is() {
    let reflection = Reflection::default();
    let client = Client::of(&reflection);
    let ask = |service: &str| {
        health::check(&request(&client, service), |name| match name {
            "" => Some(Serving::Serving),
            "idle" => Some(Serving::NotServing),
            "gone" => Some(Serving::ServiceUnknown),
            _ => None,
        })
    };
    assert_eq!(status(&client, &ask("").unwrap()), "SERVING");
    assert_eq!(status(&client, &ask("idle").unwrap()), "NOT_SERVING");
    for unknown in ["gone", "never"] {
        let told = format!("unknown service `{unknown}`");
        assert_eq!(ask(unknown).unwrap_err(), (5, told));
    }
}

#[test]
fn a_watch_may_say_that_a_service_is_unknown() {
    let reflection = Reflection::default();
    let client = Client::of(&reflection);
    assert_eq!(
        health::service(&request(&client, "some.Service")).unwrap(),
        "some.Service"
    );
    let unknown = health::encode(Serving::ServiceUnknown);
    assert_eq!(status(&client, &unknown), "SERVICE_UNKNOWN");
}

#[test]
fn what_is_no_request_is_an_invalid_argument() {
    assert_eq!(health::service(b"\x0a\x05abc").unwrap_err().0, 3);
    let never = |_: &str| -> Option<Serving> { unreachable!("nothing was asked") };
    assert_eq!(health::check(b"\x0a\x01\xff", never).unwrap_err().0, 3);
}

#[test]
fn paths_are_those_of_the_methods_that_are_described() {
    let reflection = Reflection::default();
    let client = Client::of(&reflection);
    let mut described: Vec<String> = client
        .services()
        .iter()
        .flat_map(|service| {
            let name = service.full_name().to_owned();
            let methods = service
                .methods()
                .map(|method| format!("/{name}/{}", method.name()));
            methods.collect::<Vec<_>>()
        })
        .collect();
    described.sort();
    let mut served = [
        paths::REFLECTION_V1,
        paths::REFLECTION_V1ALPHA,
        paths::HEALTH_CHECK,
        paths::HEALTH_WATCH,
    ];
    served.sort_unstable();
    assert_eq!(described, served);
}
