//! What tells who asks, given by anybody: signed tokens, sets of keys, certificates, patterns.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tollgate_identity::jwt::KeySet;
use tollgate_identity::{
    Algorithm, Certificate, ClaimPaths, Clock, Jwt, JwtSpec, Keys, KeysSpec, Origin, Parts,
    Presented, Separator, Tenant, Tenants, Verdict, Way,
};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
const MOST: usize = 8;

/// An issuer whose keys nobody has read.
fn keyless() -> &'static Jwt {
    static JWT: OnceLock<Jwt> = OnceLock::new();
    JWT.get_or_init(|| {
        let keys = Keys::new(KeysSpec {
            name: "issuer".to_owned(),
            origin: Origin::File(PathBuf::new()),
            algorithms: ALGORITHMS.to_vec(),
            refresh: Duration::from_secs(1),
            least: Duration::from_secs(1),
            stale: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            largest: 1,
            most: MOST,
            waiting: 1,
        });
        let spec = JwtSpec {
            issuer: "me".to_owned(),
            audiences: vec!["you".to_owned()],
            leeway: 0,
            longest: 4096,
            remembered: 8,
            claims: ClaimPaths::default(),
            tenant: Some(Tenant::plain("team")),
        };
        let tenants = Arc::new(Tenants::default());
        Jwt::new(spec, Arc::new(keys), tenants, Clock::new(|| 0))
    })
}

pub(crate) fn identity(data: &[u8]) {
    let presented = Presented {
        bearer: Some(data),
        ..Presented::default()
    };
    match keyless().look(presented) {
        Verdict::Now(Ok(None) | Err(_)) => {}
        Verdict::Now(Ok(Some(_))) => panic!("there is no key, and somebody is let in"),
        // It waits for keys: it is a sound token of the issuer.
        Verdict::Later(_) => assert_eq!(data.iter().filter(|byte| **byte == b'.').count(), 2),
    }
    if let Ok(set) = KeySet::parse(data, MOST, &ALGORITHMS) {
        assert!(set.len() + set.left_out() <= MOST);
    }
    let read = Certificate::read(data);
    assert_eq!(read, Certificate::read(data));
    if read.is_ok() {
        let longer = [data, b"x"].concat();
        assert!(Certificate::read(&longer).is_err(), "something follows it");
    }
    patterns(data);
}

/// A name without a `*` is the pattern of itself alone.
fn patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for separator in [Separator::Slash, Separator::Dot, Separator::Colon] {
        if let Ok(pattern) = Parts::new(text, separator)
            && !text.contains('*')
        {
            assert!(pattern.matches(text));
            assert!(!pattern.matches(&format!("{text}x")));
        }
    }
}
