//! Follows the workers of a section through what a Kubernetes cluster tells.
//!
//! 1. The first list is waited for, once, as the first look in the DNS is.
//! 2. From then on each change that is told brings a whole list of the section's workers; what is not
//!    ready any more, or terminates, leaves as any other worker does.
//! 3. After a failure what is known stays; it is tried again after a pause that doubles, and of which
//!    half is chance, so that many proxies do not come back at once.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;
use tollgate_cluster::{
    Address, ApiError, ApiSpec, Follower, FollowerSpec, Kind, Query, Seen, Service,
};
use tollgate_config::{
    ClusterApi, ClusterDiscovery, ClusterObjects, ClusterRuntime, Model, ModelName, Scheme, Worker,
};
use tollgate_discovery::{Heard, Pace};
use tollgate_telemetry::ids;

use super::{
    Fleet, Looked,
    station::{Found, Place},
};

/// Where a pod finds its API server, and what it needs for it (Kubernetes: "Accessing the Kubernetes
/// API from a Pod").
const SERVER: &str = "kubernetes.default.svc:443";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Follows one section.
struct Following {
    worker: Arc<Worker>,
    cluster: ClusterDiscovery,
    looked: Arc<Looked>,
    pace: Pace,
    /// None: not even the namespace is known yet.
    follower: Option<Follower>,
    /// What the last failure was, and what was wrong with what was found: the log has each once.
    said: Option<String>,
    wrong: Vec<String>,
}

// === impl Fleet ===

impl Fleet {
    /// Lists a section's workers for the first time, gets to know each, and follows them from then on.
    pub(super) async fn first_list(
        &self,
        worker: Arc<Worker>,
        cluster: &ClusterDiscovery,
        looked: Arc<Looked>,
    ) {
        let (least, most) = (cluster.retry.get(), cluster.retry_longest.get());
        let pace = match Pace::new(least, most, 1) {
            Ok(pace) => pace,
            Err(error) => {
                tracing::error!(section = %worker.name, %error, "it is not looked for");
                return;
            }
        };
        let mut following = Following {
            worker,
            cluster: cluster.clone(),
            looked,
            pace,
            follower: None,
            said: None,
            wrong: Vec::new(),
        };
        let pause = following.once(self).await;
        self.meet(&following.worker).await;
        let (me, again) = (self.me.clone(), self.look.subscribe());
        let name = following.worker.name.to_string();
        let task = self.spawn(async move { following.keep(me, pause, again).await });
        self.looks(name, task);
    }
}

// === impl Following ===

impl Following {
    async fn keep(
        mut self,
        fleet: Weak<Fleet>,
        mut pause: Duration,
        mut again: watch::Receiver<u64>,
    ) {
        loop {
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    told = again.changed() => if told.is_err() {
                        return;
                    }
                }
            }
            let heard = tokio::select! {
                heard = self.next() => heard,
                told = again.changed() => {
                    if told.is_err() {
                        return;
                    }
                    if let Some(follower) = &mut self.follower {
                        follower.relist();
                    }
                    continue;
                }
            };
            let Some(fleet) = fleet.upgrade() else {
                return;
            };
            pause = self.take(&fleet, heard);
        }
    }

    async fn once(&mut self, fleet: &Fleet) -> Duration {
        let heard = self.next().await;
        self.take(fleet, heard)
    }

    async fn next(&mut self) -> Result<Seen, ApiError> {
        if self.follower.is_none() {
            self.follower = Some(Follower::new(spec(&self.cluster).await?));
        }
        match &mut self.follower {
            Some(follower) => follower.next().await,
            None => Err(ApiError::Ended),
        }
    }

    /// Takes what was heard; gives how long to wait before listening again.
    fn take(&mut self, fleet: &Fleet, heard: Result<Seen, ApiError>) -> Duration {
        let seen = match heard {
            Ok(seen) => seen,
            Err(error) => {
                self.failed(&error.to_string());
                return jittered(self.pace.heard(Heard::Failed).1);
            }
        };
        self.looked.stale.store(false, Ordering::Relaxed);
        self.said = None;
        let _ = self.pace.heard(Heard::Found(Duration::ZERO));
        let section = self.worker.name.as_str();
        let mut wrong = seen.problems.clone();
        let found = found(&self.worker, &self.cluster, &seen, &mut wrong);
        for problem in wrong.iter().filter(|problem| !self.wrong.contains(problem)) {
            tracing::warn!(
                section,
                problem,
                "an object of the cluster is not taken as it is"
            );
        }
        self.wrong = wrong;
        self.looked.found.store(found.len(), Ordering::Relaxed);
        let left_out = fleet.replace(&self.worker, found, self.cluster.most.get()) + seen.left_out;
        let before = self.looked.left_out.swap(left_out, Ordering::Relaxed);
        if left_out > 0 && before == 0 {
            tracing::warn!(section, left_out, "more workers were found than may be");
        }
        Duration::ZERO
    }

    fn failed(&mut self, problem: &str) {
        self.looked.failures.fetch_add(1, Ordering::Relaxed);
        self.looked.stale.store(true, Ordering::Relaxed);
        if self.said.as_deref() != Some(problem) {
            let section = self.worker.name.as_str();
            tracing::error!(
                section,
                problem,
                "the cluster does not tell of workers; what is known stays"
            );
            self.said = Some(problem.to_owned());
        }
    }
}

/// From half of it to all of it.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(f64::from(ids::random::<1>()[0]) / 255.0)
}

async fn spec(cluster: &ClusterDiscovery) -> Result<FollowerSpec, ApiError> {
    let namespace = match (&cluster.namespace, cluster.all_namespaces) {
        (_, true) => None,
        (Some(namespace), false) => Some(namespace.to_string()),
        (None, false) => Some(own_namespace().await?),
    };
    let service = cluster.service.as_ref();
    // By the label that says whose a slice is (EndpointSlice, "Ownership").
    let service = service.map(|name| format!("kubernetes.io/service-name={name}"));
    let selector = cluster.selector.as_ref().map(|it| it.as_str().to_owned());
    let selectors: Vec<String> = service.into_iter().chain(selector).collect();
    Ok(FollowerSpec {
        api: api(&cluster.api),
        query: Query {
            kind: match cluster.cluster {
                ClusterObjects::EndpointSlices => Kind::EndpointSlices,
                ClusterObjects::InferenceServices => Kind::InferenceServices,
                ClusterObjects::LlmInferenceServices => Kind::LlmInferenceServices,
            },
            namespace,
            selector: (!selectors.is_empty()).then(|| selectors.join(",")),
        },
        port: cluster.port.as_ref().map(ToString::to_string),
        lasting: cluster.refresh.get(),
        objects: cluster.objects.get(),
    })
}

async fn own_namespace() -> Result<String, ApiError> {
    let path = std::path::PathBuf::from(ACCOUNT).join("namespace");
    match tokio::fs::read_to_string(&path).await {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Ok(_) => Err(ApiError::Settings(format!(
            "{} is empty: name the `namespace`",
            path.display()
        ))),
        Err(error) => Err(ApiError::File { path, error }),
    }
}

fn api(settings: &ClusterApi) -> ApiSpec {
    let (tls, authority, base) = match &settings.server {
        Some(server) => (
            server.is_tls(),
            server.authority(),
            server.path().to_owned(),
        ),
        None => (true, SERVER.to_owned(), String::new()),
    };
    let own = |path: &Option<tollgate_config::FilePath>, name: &str| {
        let named = path.as_ref().map(|path| path.as_path().to_owned());
        // The account's token is for its own server, and is shown to no other.
        let account = || {
            settings
                .server
                .is_none()
                .then(|| format!("{ACCOUNT}/{name}").into())
        };
        named.or_else(account)
    };
    ApiSpec {
        tls,
        authority,
        base,
        token: own(&settings.token, "token"),
        ca: own(&settings.ca, "ca.crt"),
        timeout: settings.timeout.get(),
        largest: settings.largest.get_u64(),
    }
}

/// The workers that a cluster's objects are; `wrong` takes what keeps one from being.
fn found(
    worker: &Worker,
    cluster: &ClusterDiscovery,
    seen: &Seen,
    wrong: &mut Vec<String>,
) -> Vec<Found> {
    let section = worker.name.as_str();
    let places = seen.places.iter().map(|place| {
        let address = place.address.to_string();
        let network = Place::Network {
            scheme: cluster.scheme,
            authority: address.clone(),
            address,
            base: String::new(),
        };
        Found::new(format!("{section}@{}", place.name), network)
    });
    let services = seen.services.iter().filter_map(|service| {
        let found = served(worker, cluster, service);
        found.map_err(|problem| wrong.push(problem)).ok()
    });
    places.chain(services).collect()
}

/// The worker that a service is.
fn served(worker: &Worker, cluster: &ClusterDiscovery, service: &Service) -> Result<Found, String> {
    let name = match cluster.all_namespaces {
        true => format!("{}/{}", service.namespace, service.name),
        false => service.name.clone(),
    };
    let mut runtimes = service.runtimes.iter();
    let runtime = runtimes.find_map(|name| cluster.runtimes.get(name.as_str()));
    if runtime.is_none() && worker.protocol.is_none() {
        return Err(format!(
            "{name}: none of its runtimes ({}) is among `runtimes`, and the worker has no `protocol`",
            service.runtimes.join(", ")
        ));
    }
    let model = |own: &String| -> Result<Model, String> {
        let served_as = ModelName::new(own).map_err(|error| format!("{name}: {error}"))?;
        let shown = match cluster.all_namespaces {
            true => format!("{}/{own}", service.namespace),
            false => own.clone(),
        };
        let shown = ModelName::new(&shown).map_err(|error| format!("{name}: {error}"))?;
        Ok(Model::new(shown, served_as))
    };
    // What the section names is what is served; else what the service tells.
    let models = match worker.models.is_empty() {
        true => Some(
            service
                .models
                .iter()
                .map(model)
                .collect::<Result<_, String>>()?,
        ),
        false => None,
    };
    Ok(Found {
        models,
        runtime: runtime.cloned(),
        ..Found::new(format!("{}@{name}", worker.name), place(service, runtime))
    })
}

fn place(service: &Service, runtime: Option<&ClusterRuntime>) -> Place {
    let grpc = runtime.is_some_and(|runtime| runtime.grpc);
    let Address {
        tls,
        authority,
        base,
    } = match &service.grpc {
        Some(address) if grpc => address,
        _ => &service.address,
    };
    Place::Network {
        scheme: match (tls, grpc) {
            (false, false) => Scheme::Http,
            (true, false) => Scheme::Https,
            (false, true) => Scheme::Grpc,
            (true, true) => Scheme::Grpcs,
        },
        authority: authority.clone(),
        address: authority.clone(),
        base: base.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tollgate_config::{Config, Discovery, WorkerAddress};

    use super::*;

    fn worker(address: &str, more: &str) -> (Worker, ClusterDiscovery) {
        let text = format!(
            "listeners: [{{ name: a, address: \"127.0.0.1:0\" }}]\n\
             plugins: {{ parcel: {{ source: \"bundled:parcel\" }}, other: {{ source: \"bundled:other\" }} }}\n\
             workers: [{{ name: w, address: {{ cluster: inference-services, {address} }}{more} }}]\n"
        );
        let config = Config::parse(&text, Path::new("c.yaml")).unwrap();
        let worker = config.workers[0].clone();
        let WorkerAddress::Discovered(Discovery::Cluster(cluster)) = &worker.address else {
            panic!("{:?}", worker.address);
        };
        let cluster = ClusterDiscovery::clone(cluster);
        (worker, cluster)
    }

    fn service(runtimes: &[&str]) -> Service {
        let address = |authority: &str| Address {
            tls: false,
            authority: authority.to_owned(),
            base: "/b".to_owned(),
        };
        Service {
            namespace: "team".to_owned(),
            name: "iris".to_owned(),
            models: vec!["iris".to_owned(), "x".to_owned()],
            runtimes: runtimes.iter().map(|&it| it.to_owned()).collect(),
            address: address("iris:80"),
            grpc: Some(address("iris-grpc:9000")),
        }
    }

    fn models(found: &Found) -> Vec<(String, String)> {
        let models = found.models.iter().flatten();
        models
            .map(|model| (model.name.to_string(), model.served_as().to_string()))
            .collect()
    }

    #[test]
    fn models_of_many_namespaces_are_told_apart() {
        let (w, cluster) = worker("all-namespaces: true", ", protocol: parcel");
        let found = served(&w, &cluster, &service(&[])).unwrap();
        assert_eq!(found.name, "w@team/iris");
        let names = [("team/iris", "iris"), ("team/x", "x")];
        let names = names.map(|(shown, own)| (shown.to_owned(), own.to_owned()));
        assert_eq!(models(&found), names);
        let (w, cluster) = worker("namespace: team", ", protocol: parcel");
        let found = served(&w, &cluster, &service(&[])).unwrap();
        assert_eq!((found.name.as_str(), models(&found).len()), ("w@iris", 2));
        let (w, cluster) = worker(
            "namespace: team",
            ", protocol: parcel, models: [{ name: m }]",
        );
        let found = served(&w, &cluster, &service(&[])).unwrap();
        assert_eq!(
            found.models, None,
            "what the section names is what is served"
        );
    }

    #[test]
    fn the_first_runtime_that_is_known_says_how_one_speaks() {
        let runtimes =
            "runtimes: { own: { protocol: other }, grpc-v2: { protocol: parcel, grpc: true } }";
        let (w, cluster) = worker(runtimes, "");
        let found = served(&w, &cluster, &service(&["unknown", "own", "grpc-v2"])).unwrap();
        assert_eq!(found.runtime.unwrap().protocol.as_str(), "other");
        assert_eq!(found.place.to_string(), "http://iris:80/b");
        let found = served(&w, &cluster, &service(&["grpc-v2"])).unwrap();
        assert_eq!(found.place.to_string(), "grpc://iris-grpc:9000/b");
        let problem = served(&w, &cluster, &service(&["v1"])).unwrap_err();
        assert!(
            problem.contains("iris: none of its runtimes (v1)"),
            "{problem}"
        );
        let (w, cluster) = worker(runtimes, ", protocol: parcel");
        let found = served(&w, &cluster, &service(&["v1"])).unwrap();
        assert_eq!(found.runtime, None, "as the section says");
    }

    #[test]
    fn a_server_of_ones_own_is_not_shown_the_account_s_token() {
        let (_, cluster) = worker(
            "api: { server: \"https://elsewhere:6443/k8s\" }",
            ", protocol: parcel",
        );
        let spec = api(&cluster.api);
        assert_eq!((spec.token, spec.ca), (None, None));
        assert_eq!((&*spec.authority, &*spec.base), ("elsewhere:6443", "/k8s"));
        let (_, cluster) = worker("namespace: a", ", protocol: parcel");
        let spec = api(&cluster.api);
        assert!(spec.tls && spec.token.is_some() && spec.ca.is_some());
    }

    #[test]
    fn pauses_are_not_all_alike_and_never_longer() {
        let longest = Duration::from_secs(8);
        for _ in 0..256 {
            let pause = jittered(longest);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?}");
        }
    }
}
