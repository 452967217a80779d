//! From the configuration's ways of telling who asks to those that doors use, and what keeps them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tollgate_config::{
    Access as AccessSection, Authentication, CertificateName, CertificateRule as RuleSection,
    Config, FilePath, Jwt as JwtSection, KeyPlace, Kubernetes as KubernetesSection, Name,
    NamePattern, SignatureAlgorithm, TOKENS, WebAddress,
};
use tollgate_edge::{Door, Tokens};
use tollgate_identity::{
    Access, Algorithm, CertificateRule, Certificates, ClaimPaths, Clock, Jwt, JwtSpec, Keys,
    KeysSpec, Kubernetes, KubernetesSpec, KubernetesWay, Named, Origin, Parts, Separator, Site,
    SiteError, SiteSpec, Tenant, TenantSpec, Tenants, UserRule, Way,
};

/// How often a file of keys is read, at least.
const FILE: Duration = Duration::from_secs(2);
/// The least time between two readings of it.
const FILE_LEAST: Duration = Duration::from_secs(1);
/// Requests of an issuer that may wait for its keys.
const WAITING: usize = 1024;
/// For a connection to an issuer or a cluster, at most.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest file of authorities that is read.
const LARGEST_CA: u64 = 1 << 20;

/// Everything that tells who asks.
pub(crate) struct Identities {
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) ways: BTreeMap<Name, Known>,
    tokens: Option<Arc<Tokens>>,
}

/// A way of the section `authentication`.
#[derive(Clone)]
pub(crate) enum Known {
    Jwt(Arc<Jwt>),
    Certificates(Arc<Certificates>),
    Kubernetes(Arc<Kubernetes>),
}

/// A way that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WayError {
    #[error("authentication `{0}`: {1}")]
    Site(Name, SiteError),
    #[error("authentication `{0}`: {1} cannot be read: {2}")]
    File(Name, FilePath, std::io::Error),
    #[error("authentication `{0}`: `{1}` is no pattern: {2}")]
    Pattern(Name, NamePattern, tollgate_identity::BadPattern),
}

/// The tenants of a configuration.
pub(crate) fn tenants(config: &Config) -> Arc<Tenants> {
    let texts = |names: &[tollgate_config::tokens::ModelPattern]| {
        names.iter().map(ToString::to_string).collect()
    };
    let specs = config.tenants.iter().map(|(name, tenant)| TenantSpec {
        name: name.to_string(),
        models: tenant.models.as_deref().map(texts),
        tasks: tenant
            .tasks
            .as_ref()
            .map(|tasks| tasks.iter().map(ToString::to_string).collect()),
        concurrency: tenant.concurrency.map(|most| most.get()),
        priority: tenant.priority.get(),
    });
    Arc::new(Tenants::new(specs))
}

impl Identities {
    /// The ways of a configuration; nothing is asked yet. Those that another one with the same tenants
    /// has as well are taken over, with what they know.
    pub(crate) fn new(
        config: &Config,
        tenants: Arc<Tenants>,
        tokens: Option<Arc<Tokens>>,
        former: Option<(&Config, &Self)>,
    ) -> Result<Self, WayError> {
        let mut ways = BTreeMap::new();
        for (name, section) in &config.authentication {
            if let Some((before, former)) = former
                && before.authentication.get(name) == Some(section)
                && let Some(known) = former.ways.get(name)
            {
                ways.insert(name.clone(), known.clone());
                continue;
            }
            let maker = Maker {
                name,
                tenants: &tenants,
            };
            let known = match section {
                Authentication::Jwt(jwt) => Known::Jwt(Arc::new(maker.jwt(jwt)?)),
                Authentication::Certificates(rules) => {
                    let rules = rules.iter().map(|rule| maker.certificate(rule));
                    let rules = rules.collect::<Result<_, _>>()?;
                    Known::Certificates(Arc::new(Certificates::new(rules, Clock::system())))
                }
                Authentication::Kubernetes(cluster) => {
                    Known::Kubernetes(Arc::new(maker.cluster(cluster)?))
                }
            };
            ways.insert(name.clone(), known);
        }
        Ok(Self {
            tenants,
            ways,
            tokens,
        })
    }

    /// How one is told on a route; none: it is open.
    pub(crate) fn door(&self, route: &tollgate_config::Route) -> Option<Door> {
        let names = route.auth.ways();
        if names.is_empty() {
            return None;
        }
        let right = route.access.as_ref().map(access);
        let ways = names
            .into_iter()
            .filter_map(|name| -> Option<Arc<dyn Way>> {
                if name == TOKENS {
                    return Some(self.tokens.clone()?);
                }
                Some(match self.ways.get(name)? {
                    Known::Jwt(jwt) => jwt.clone(),
                    Known::Certificates(certificates) => certificates.clone(),
                    Known::Kubernetes(cluster) => {
                        Arc::new(KubernetesWay::new(cluster.clone(), right.clone()))
                    }
                })
            });
        Some(Door::new(ways.collect()))
    }

    /// The keys of issuers, which somebody has to keep.
    pub(crate) fn keys(&self) -> Vec<Arc<Keys>> {
        let ways = self.ways.values();
        ways.filter_map(|way| match way {
            Known::Jwt(jwt) => Some(jwt.keys().clone()),
            Known::Certificates(_) | Known::Kubernetes(_) => None,
        })
        .collect()
    }
}

/// What the ways of one name are made with.
struct Maker<'m> {
    name: &'m Name,
    tenants: &'m Arc<Tenants>,
}

impl Maker<'_> {
    fn tenant(&self, name: &Name) -> Arc<Tenant> {
        self.tenants.of(name.as_str())
    }

    fn pattern(&self, text: &NamePattern, separator: Separator) -> Result<Parts, WayError> {
        Parts::new(text.as_str(), separator)
            .map_err(|bad| WayError::Pattern(self.name.clone(), text.clone(), bad))
    }

    fn jwt(&self, section: &JwtSection) -> Result<Jwt, WayError> {
        let keys = &section.keys;
        let (refresh, least) = (keys.refresh.get(), keys.refresh_least.get());
        let (origin, refresh, least) = match &keys.from {
            KeyPlace::File(path) => {
                let origin = Origin::File(path.as_path().to_owned());
                (origin, refresh.min(FILE), least.min(FILE_LEAST))
            }
            KeyPlace::Web(address) => {
                let site = self.site(address, keys.ca.as_ref(), 1, 1, keys.timeout.get())?;
                (Origin::Site(site), refresh, least)
            }
        };
        let algorithms = section.algorithms.iter().map(|algorithm| match algorithm {
            SignatureAlgorithm::Rs256 => Algorithm::Rs256,
            SignatureAlgorithm::Es256 => Algorithm::Es256,
            SignatureAlgorithm::EdDsa => Algorithm::EdDsa,
        });
        let keys = Keys::new(KeysSpec {
            name: self.name.to_string(),
            origin,
            algorithms: algorithms.collect(),
            refresh,
            least,
            stale: keys.stale.get(),
            timeout: keys.timeout.get(),
            largest: keys.largest.get(),
            most: keys.most.get(),
            waiting: WAITING,
        });
        let claims = &section.claims;
        let pointer = |it: &Option<tollgate_config::Pointer>| it.as_ref().map(ToString::to_string);
        let spec = JwtSpec {
            issuer: section.issuer.to_string(),
            audiences: section.audiences.iter().map(ToString::to_string).collect(),
            leeway: section.leeway.get().as_secs(),
            longest: section.longest.get(),
            remembered: section.remembered.get(),
            claims: ClaimPaths {
                name: Some(claims.name.to_string()),
                tenant: pointer(&claims.tenant),
                models: pointer(&claims.models),
                tasks: pointer(&claims.tasks),
                priority: pointer(&claims.priority),
            },
            tenant: section.tenant.as_ref().map(|name| self.tenant(name)),
        };
        let (keys, tenants) = (Arc::new(keys), self.tenants.clone());
        Ok(Jwt::new(spec, keys, tenants, Clock::system()))
    }

    fn certificate(&self, rule: &RuleSection) -> Result<CertificateRule, WayError> {
        let (named, text, separator) = match &rule.name {
            CertificateName::Uri(text) => (Named::Uri, text, Separator::Slash),
            CertificateName::Dns(text) => (Named::Dns, text, Separator::Dot),
            CertificateName::CommonName(text) => (Named::CommonName, text, Separator::Slash),
        };
        Ok(CertificateRule {
            named,
            pattern: self.pattern(text, separator)?,
            tenant: self.tenant(&rule.tenant),
        })
    }

    fn cluster(&self, section: &KubernetesSection) -> Result<Kubernetes, WayError> {
        let pattern = |text: &Option<NamePattern>| {
            let text = text.as_ref();
            text.map(|text| self.pattern(text, Separator::Colon))
                .transpose()
        };
        let users = section.users.iter().map(|rule| -> Result<_, WayError> {
            Ok(UserRule {
                user: pattern(&rule.user)?,
                group: pattern(&rule.group)?,
                tenant: self.tenant(&rule.tenant),
            })
        });
        let (connections, waiting) = (section.connections.get(), section.waiting.get());
        let timeout = section.timeout.get();
        let spec = KubernetesSpec {
            name: self.name.to_string(),
            site: self.site(
                &section.server,
                section.ca.as_ref(),
                connections,
                waiting,
                timeout,
            )?,
            token: section.token.as_path().to_owned(),
            audiences: section.audiences.iter().map(ToString::to_string).collect(),
            timeout,
            life: section.life.get(),
            denied_life: section.denied_life.get(),
            remembered: section.remembered.get(),
            waiting,
            users: users.collect::<Result<_, _>>()?,
            tenant: section.tenant.as_ref().map(|name| self.tenant(name)),
        };
        Ok(Kubernetes::new(spec, Clock::system()))
    }

    fn site(
        &self,
        address: &WebAddress,
        ca: Option<&FilePath>,
        connections: usize,
        waiting: usize,
        timeout: Duration,
    ) -> Result<Site, WayError> {
        let ca_pem = ca
            .map(|file| {
                read(file).map_err(|error| WayError::File(self.name.clone(), file.clone(), error))
            })
            .transpose()?;
        let spec = SiteSpec {
            authority: address.at().authority(),
            path: address.path().to_owned(),
            tls: address.at().scheme().is_tls(),
            ca_pem,
            connections,
            waiting,
            connect_timeout: timeout.min(CONNECT),
        };
        Site::new(spec).map_err(|error| WayError::Site(self.name.clone(), error))
    }
}

fn read(file: &FilePath) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(file)?
        .take(LARGEST_CA)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn access(section: &AccessSection) -> Access {
    let text = |it: &Option<tollgate_config::Text>| it.as_ref().map(ToString::to_string);
    Access {
        group: text(&section.group).unwrap_or_default(),
        resource: section.resource.to_string(),
        subresource: text(&section.subresource),
        namespace: text(&section.namespace),
        name: text(&section.name),
        verb: section.verb.to_string(),
    }
}
