//! Who has been let in by what, and how full it is: tenants, issuers' keys, clusters.

use tollgate_identity::{Jwt, Kubernetes};
use tollgate_telemetry::Samples;

use crate::{identity::Known, run::Running};

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
pub(super) fn collect(running: &Running, samples: &mut Samples) {
    let identities = &running.assembled.identities;
    for tenant in identities.tenants.all() {
        let Some(most) = tenant.concurrency() else {
            continue;
        };
        let labels: &[(&'static str, &str)] = &[("tenant", tenant.name())];
        samples.gauge(
            "tenant_requests",
            "Requests of a tenant at once, where that is bounded",
            labels,
            tenant.running() as f64,
        );
        samples.gauge(
            "tenant_requests_most",
            "Requests that a tenant may have at once",
            labels,
            most as f64,
        );
        samples.counter(
            "tenant_requests_refused",
            "Requests of a tenant that were refused because it had as many as it may",
            labels,
            tenant.refused(),
        );
    }
    for (name, way) in &identities.ways {
        match way {
            Known::Jwt(jwt) => of_issuer(samples, name.as_str(), jwt),
            Known::Certificates(certificates) => samples.gauge(
                "identity_remembered",
                "Credentials whose holder is remembered",
                &[("way", name.as_str())],
                certificates.remembered() as f64,
            ),
            Known::Kubernetes(cluster) => of_cluster(samples, cluster),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn of_issuer(samples: &mut Samples, name: &str, jwt: &Jwt) {
    let labels: &[(&'static str, &str)] = &[("way", name)];
    let keys = jwt.keys();
    let mut gauge = |name, help, value: f64| samples.gauge(name, help, labels, value);
    gauge(
        "identity_remembered",
        "Credentials whose holder is remembered",
        jwt.remembered() as f64,
    );
    gauge(
        "issuer_keys",
        "Keys of an issuer that tokens may be signed with now",
        keys.count() as f64,
    );
    gauge(
        "issuer_keys_waiting",
        "Requests that wait for an issuer's keys to be read",
        keys.waiting() as f64,
    );
    if let Some(age) = keys.age() {
        gauge(
            "issuer_keys_age_seconds",
            "Since an issuer's keys were read",
            age.as_secs_f64(),
        );
    }
    let (readings, failed) = keys.readings();
    for (outcome, count) in [("good", readings.saturating_sub(failed)), ("bad", failed)] {
        samples.counter(
            "issuer_keys_readings",
            "Times that an issuer's keys were read, or were not to be had",
            &[("way", name), ("outcome", outcome)],
            count,
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn of_cluster(samples: &mut Samples, cluster: &Kubernetes) {
    let name = cluster.name();
    let labels: &[(&'static str, &str)] = &[("way", name)];
    let (tokens, rights) = cluster.remembered();
    let mut gauge = |name, help, value: usize| samples.gauge(name, help, labels, value as f64);
    gauge(
        "identity_remembered",
        "Credentials whose holder is remembered",
        tokens,
    );
    gauge(
        "identity_rights",
        "Answers of a cluster about rights that are remembered",
        rights,
    );
    gauge(
        "identity_waiting",
        "Requests that wait for a cluster to say who asks",
        cluster.waiting(),
    );
    let (asked, failed) = cluster.asked();
    for (outcome, count) in [("good", asked.saturating_sub(failed)), ("bad", failed)] {
        samples.counter(
            "identity_reviews",
            "Questions to a cluster about tokens and rights, answered or not",
            &[("way", name), ("outcome", outcome)],
            count,
        );
    }
}
