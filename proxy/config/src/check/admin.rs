//! The port of operators: who reaches it from other machines has to show who he is, unseen.

use super::Check;
use crate::process::FromElsewhere;
use crate::yaml::steps;

impl Check<'_, '_> {
    pub(super) fn admin(&mut self) {
        let config = self.config;
        let Some(admin) = &config.admin else {
            return;
        };
        let tls = admin.tls.as_ref();
        if tls.is_some_and(|tls| tls.certificates.is_empty()) {
            let what = "TLS needs at least one certificate";
            self.refuse(steps!["admin", "tls", "certificates"], what, None);
        }
        let all = admin.from_elsewhere == FromElsewhere::All;
        if admin.address.ip().is_loopback() || !all {
            return;
        }
        let missing = match (admin.tokens.is_some(), tls.is_some()) {
            (true, true) => return,
            (true, false) => "`tls`: the tokens of operators could be read on the way",
            (false, true) => "`tokens`: whoever reaches it could change everything",
            (false, false) => "`tokens` and `tls`: whoever reaches it could change everything",
        };
        let address = admin.address;
        let what = format!("{address} is reached from other machines without {missing}");
        let hint = "write `from-elsewhere: probes` to tell other machines `/livez`, `/readyz`, \
                    `/metrics` and `/scale` alone, or listen on 127.0.0.1";
        self.refuse(steps!["admin", "address"], what, Some(hint.to_owned()));
    }
}
