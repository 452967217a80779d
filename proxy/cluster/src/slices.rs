//! EndpointSlices: the addresses behind a Service.
//!
//! * An endpoint counts when it is ready, which it is unless it says otherwise, and is not
//!   terminating: one that terminates finishes what it has and is given nothing new.
//! * Its addresses are fungible, by the reference: the first one is taken.
//! * A Service has several slices, and one of each family of addresses. What they say of one pod is
//!   one place, by its IPv4 address where it has both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_json::Value;

/// Where a pod behind a Service is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// By what it is told from others: the pod's uid, or else the address.
    pub identity: String,
    /// The pod's name, or else the address.
    pub name: String,
    /// Its address, with the port that was asked for.
    pub address: SocketAddr,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Option<Conditions>,
    #[serde(default)]
    target_ref: Option<TargetRef>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
struct TargetRef {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uid: Option<String>,
}

#[derive(Deserialize)]
struct Port {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    protocol: Option<String>,
}

/// What a slice tells, with the port of that name, or its only one.
///
/// # Errors
/// It is no slice, or has no such port; in words.
pub(crate) fn read(object: &Value, port: Option<&str>) -> Result<Vec<Place>, String> {
    let slice = Slice::deserialize(object).map_err(|error| error.to_string())?;
    let endpoints = slice.endpoints.unwrap_or_default();
    // Names instead of addresses are deprecated, and nobody makes such slices.
    if endpoints.is_empty() || !matches!(&*slice.address_type, "IPv4" | "IPv6") {
        return Ok(Vec::new());
    }
    let ports = slice.ports.unwrap_or_default();
    let port = number(&ports, port)?;
    let mut places = Vec::new();
    for endpoint in endpoints {
        let conditions = endpoint.conditions.unwrap_or_default();
        if conditions.ready == Some(false) || conditions.terminating == Some(true) {
            continue;
        }
        let address = endpoint.addresses.first();
        let address = address.and_then(|address| address.parse::<IpAddr>().ok());
        let address = address.ok_or("an endpoint has no address")?;
        let target = endpoint.target_ref.unwrap_or_default();
        let told = |text: Option<String>| {
            let text = text.filter(|text| !text.is_empty());
            text.unwrap_or_else(|| address.to_string())
        };
        places.push(Place {
            identity: told(target.uid),
            name: told(target.name),
            address: SocketAddr::new(address, port),
        });
    }
    Ok(places)
}

fn number(ports: &[Port], wanted: Option<&str>) -> Result<u16, String> {
    let tcp = |port: &&Port| port.protocol.as_deref().is_none_or(|it| it == "TCP");
    let mut ports = ports.iter().filter(tcp);
    let found = match wanted {
        Some(name) => ports
            .find(|port| port.name.as_deref() == Some(name))
            .ok_or_else(|| format!("it has no port called {name}"))?,
        None => match (ports.next(), ports.next()) {
            (Some(only), None) => only,
            (None, _) => return Err("it has no port".into()),
            (Some(_), Some(_)) => return Err("it has several ports: say which, by `port`".into()),
        },
    };
    let port = found.port.filter(|port| *port != 0);
    port.ok_or_else(|| "its port has no number".into())
}

/// The places of all slices, each pod once, in order.
pub(crate) fn merged<'a>(places: impl Iterator<Item = &'a Place>) -> Vec<Place> {
    let mut pods: BTreeMap<&str, &Place> = BTreeMap::new();
    for place in places {
        let known = pods.entry(&place.identity).or_insert(place);
        // Of one pod the smallest address, and IPv4 before IPv6: the same one each time.
        if place.address < known.address {
            *known = place;
        }
    }
    let mut merged: Vec<Place> = pods.into_values().cloned().collect();
    // What is reached in one place is one, whoever it says that it is.
    let mut addresses = BTreeSet::new();
    merged.retain(|place| addresses.insert(place.address));
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for place in &merged {
        *names.entry(place.name.clone()).or_default() += 1;
    }
    // Pods of one name: of two namespaces, or one that takes the other's place.
    for place in &mut merged {
        if names.get(&place.name).is_some_and(|count| *count > 1) {
            place.name = format!("{}@{}", place.name, place.address);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(kind: &str, endpoints: Value) -> Value {
        json!({
            "addressType": kind, "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8000, "protocol": "TCP"},
                      {"name": "dns", "port": 53, "protocol": "UDP"}],
        })
    }

    fn addresses(places: &[Place]) -> Vec<String> {
        places.iter().map(|it| it.address.to_string()).collect()
    }

    #[test]
    fn what_is_ready_and_stays_counts() {
        let read = read(
            &slice(
                "IPv4",
                json!([
                    {"addresses": ["10.0.0.1", "10.0.0.9"], "conditions": {"ready": true}},
                    {"addresses": ["10.0.0.2"], "conditions": {}},
                    {"addresses": ["10.0.0.3"]},
                    {"addresses": ["10.0.0.4"], "conditions": {"ready": false}},
                    {"addresses": ["10.0.0.5"], "conditions": {"ready": true, "terminating": true}},
                    {"addresses": ["10.0.0.6"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                ]),
            ),
            None,
        );
        let expected = ["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"];
        assert_eq!(addresses(&read.unwrap()), expected);
    }

    #[test]
    fn ports_are_found_by_name_or_alone() {
        let endpoints = json!([{"addresses": ["10.0.0.1"]}]);
        let slice = slice("IPv4", endpoints.clone());
        assert!(read(&slice, Some("http")).is_ok());
        assert!(read(&slice, Some("dns")).is_err(), "another protocol");
        assert!(read(&slice, Some("grpc")).is_err());
        let two = json!({"addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"port": 1}, {"port": 2}]});
        assert!(read(&two, None).unwrap_err().contains("several"));
        let none = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]});
        assert!(read(&none, None).is_err());
        let empty = json!({"addressType": "IPv4", "endpoints": null, "ports": null});
        assert!(read(&empty, Some("http")).unwrap().is_empty());
    }

    #[test]
    fn a_pod_of_several_slices_is_one_place_by_its_ipv4_address() {
        let pod = |address: &str, name: &str, uid: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": name, "uid": uid}});
        let six = slice(
            "IPv6",
            json!([pod("fd00::1", "a", "1"), pod("fd00::2", "b", "2")]),
        );
        let four = slice("IPv4", json!([pod("10.0.0.1", "a", "1")]));
        let again = slice("IPv4", json!([pod("10.0.0.1", "a", "1")]));
        let all: Vec<Place> = [six, four, again]
            .iter()
            .flat_map(|slice| read(slice, None).unwrap())
            .collect();
        let merged = merged(all.iter());
        assert_eq!(addresses(&merged), ["10.0.0.1:8000", "[fd00::2]:8000"]);
        assert_eq!(merged[0].name, "a");
    }

    #[test]
    fn pods_of_one_name_are_told_apart() {
        let place = |uid: &str, address: &str| Place {
            identity: uid.into(),
            name: "a".into(),
            address: address.parse().unwrap(),
        };
        let places = [place("1", "10.0.0.1:1"), place("2", "10.0.0.2:1")];
        let merged = merged(places.iter());
        assert_ne!(merged[0].name, merged[1].name);
    }

    #[test]
    fn what_is_no_slice_is_refused_in_words() {
        for bad in [
            json!({"addressType": "IPv4", "endpoints": 3}),
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["x"]}], "ports": [{"port": 1}]}),
            json!({"addressType": "IPv4", "endpoints": [{"addresses": []}], "ports": [{"port": 1}]}),
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 0}]}),
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 70000}]}),
        ] {
            assert!(read(&bad, None).is_err(), "{bad}");
        }
        let names = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]});
        assert!(read(&names, None).unwrap().is_empty());
    }
}
