//! `telemetry`: that what is to be sent has somewhere to go, and that it can be reached.

use super::Check;
use crate::workers::Scheme;
use crate::yaml::steps;

impl Check<'_, '_> {
    pub(super) fn telemetry(&mut self) {
        let telemetry = &self.config.telemetry;
        let signals = [
            ("traces", telemetry.traces.is_some()),
            ("metrics", telemetry.metrics.is_some()),
        ];
        let Some(otlp) = &telemetry.otlp else {
            for (key, _) in signals.into_iter().filter(|(_, is_there)| *is_there) {
                let what = "there is no collector to send them to";
                let hint = Some("say where it is in `otlp`".to_owned());
                self.refuse(steps!["telemetry", key], what, hint);
            }
            return;
        };
        if signals.iter().all(|(_, is_there)| !is_there) {
            let what = "nothing is sent to this collector";
            let hint = Some("add `traces: {}` or `metrics: {}` beside it".to_owned());
            self.refuse(steps!["telemetry", "otlp"], what, hint);
        }
        let scheme = otlp.endpoint.scheme();
        if otlp.prefix.is_some() && matches!(scheme, Scheme::Grpc | Scheme::Grpcs) {
            let what = "`prefix` has no meaning for gRPC";
            self.refuse(steps!["telemetry", "otlp", "prefix"], what, None);
        }
        for (key, is_there) in [
            ("ca", otlp.ca.is_some()),
            ("server-name", otlp.server_name.is_some()),
        ] {
            if is_there && !scheme.is_tls() {
                let what = format!("`{key}` has no meaning for {}", otlp.endpoint);
                let hint = Some("use `https` or `grpcs`".to_owned());
                self.refuse(steps!["telemetry", "otlp", key], what, hint);
            }
        }
        if let Some(traces) = &telemetry.traces
            && traces.batch.get() > traces.queue.get()
        {
            let what = format!(
                "`batch` ({}) is more than `queue` ({})",
                traces.batch, traces.queue
            );
            self.refuse(steps!["telemetry", "traces", "batch"], what, None);
        }
    }
}
