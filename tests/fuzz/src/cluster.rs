//! What an API server says of a cluster's objects.

use std::collections::HashSet;

use tollgate_cluster::{Kind, Seen};

/// Objects that are remembered.
const MOST: usize = 4;

/// Whatever a list says: no more is taken than may be, nothing that is taken has the name of another,
/// and the same list says the same again. What is not taken is counted or said.
pub(crate) fn cluster(bytes: &[u8]) {
    for kind in [
        Kind::EndpointSlices,
        Kind::InferenceServices,
        Kind::LlmInferenceServices,
    ] {
        let read = || Seen::of_list(kind, None, MOST, bytes);
        let Ok(seen) = read() else { continue };
        assert_eq!(read().expect("it was read before"), seen);
        assert!(seen.services.len() <= MOST);
        let names: HashSet<_> = seen.places.iter().map(|place| &place.name).collect();
        assert_eq!(names.len(), seen.places.len(), "{seen:?}");
        let identities: HashSet<_> = seen.places.iter().map(|it| &it.identity).collect();
        assert_eq!(identities.len(), seen.places.len(), "{seen:?}");
        assert!(seen.places.iter().all(|place| place.address.port() != 0));
        for service in &seen.services {
            assert!(!service.models.is_empty());
            for address in [Some(&service.address), service.grpc.as_ref()]
                .into_iter()
                .flatten()
            {
                assert!(address.authority.rsplit_once(':').is_some(), "{address:?}");
                assert!(address.base.is_empty() || address.base.starts_with('/'));
            }
        }
    }
}
