//! `authentication`: ways of telling who asks, beside the file of hashed tokens.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::scalar::{Count, FilePath, KIB, MIB, Name, Period, Size};
use crate::section::{Context, Decode, Fields, choice, section, settings};
use crate::words::{KeyPlace, NamePattern, Pointer, Text, WebAddress};
use crate::yaml::{Kind, Node};

/// A way of telling who asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// By tokens that an issuer has signed.
    Jwt(Box<Jwt>),
    /// By names in certificates.
    Certificates(Vec<CertificateRule>),
    /// By asking the API of a cluster.
    Kubernetes(Box<Kubernetes>),
}

section! {
    /// Tokens that an issuer has signed: JSON Web Tokens (RFC 7519).
    #[name = "section of an issuer's tokens"]
    pub struct Jwt {
        /// The issuer, as its tokens name it (`iss`), to the letter.
        pub issuer: Text,
        /// What tokens have to be for (`aud`): one of these; at least one.
        pub audiences: Vec<Text>,
        /// The issuer's public keys.
        pub keys: IssuerKeys,
        /// Algorithms of signatures that are taken; at least one.
        pub algorithms: Vec<SignatureAlgorithm> = SignatureAlgorithm::ALL.to_vec(),
        /// By how much clocks may differ.
        pub leeway: Period<0, 300_000> = Period::secs(30),
        /// Bytes of a token.
        pub longest: Size<256, { 16 * KIB }> = Size::of(8 * KIB),
        /// Verified tokens that are remembered until they expire or the keys change.
        pub remembered: Count<1, 1_000_000> = Count::of(10_000),
        /// Where in a token's claims is what.
        pub claims: Claims = Claims::default(),
        /// Whose a token is that names no tenant. Absent: it is refused.
        pub tenant: Option<Name> = None,
    }
}

section! {
    /// The public keys of an issuer: a JSON Web Key Set (RFC 7517).
    #[name = "section of an issuer's keys"]
    pub struct IssuerKeys {
        /// A file, or an `https` address; `http` only on this machine.
        pub from: KeyPlace,
        /// PEM file of the authorities to trust at that address, and no others. Absent: the web's.
        pub ca: Option<FilePath> = None,
        /// How often they are read. A file is read every two seconds if that is more often.
        pub refresh: Period<1000, 86_400_000> = Period::secs(600),
        /// The least time between two readings, however many tokens come with a key that is not
        /// known.
        pub refresh_least: Period<100, 3_600_000> = Period::secs(10),
        /// How long keys are believed that cannot be read again; then nobody is let in by them.
        pub stale: Period<1000, 604_800_000> = Period::secs(86_400),
        /// For one reading.
        pub timeout: Period<100, 60_000> = Period::secs(5),
        /// Bytes of one reading.
        pub largest: Size<KIB, MIB> = Size::of(256 * KIB),
        /// Keys of one reading.
        pub most: Count<1, 1000> = Count::of(64),
    }
}

settings! {
    /// Where in a token's claims is what, as JSON pointers (RFC 6901): `/tenant`, `/access/models`.
    #[name = "section of claims"]
    pub struct Claims {
        /// The holder's name, for the log.
        pub name: Pointer = Pointer::of("/sub"),
        /// The name of its tenant, which `tenants` has to have. Absent: tokens name none.
        pub tenant: Option<Pointer> = None,
        /// Models, as a list of names or as words, with `*` as in a file of tokens. A token that
        /// says nothing there opens none. Absent: all that its tenant may.
        pub models: Option<Pointer> = None,
        /// Tasks, likewise.
        pub tasks: Option<Pointer> = None,
        /// A whole number from -1000 to 1000; greater goes first. Absent, and where nothing is
        /// there: 0.
        pub priority: Option<Pointer> = None,
    }
}

choice! {
    /// An algorithm of signatures.
    pub enum SignatureAlgorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256, of 2048 bits or more.
        Rs256 = "RS256",
        /// ECDSA with P-256 and SHA-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// Clients whose certificate has such a name belong to that tenant: one of `uri`, `dns` and
/// `common-name`, and `tenant`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CertificateRule {
    /// What the name has to be.
    #[serde(flatten)]
    pub name: CertificateName,
    /// Whose it is.
    pub tenant: Name,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateName {
    /// The only URI, such as a SPIFFE ID.
    Uri(NamePattern),
    /// A DNS name.
    Dns(NamePattern),
    /// The only common name of the subject.
    CommonName(NamePattern),
}

section! {
    /// Tokens of a cluster, about which its API is asked: whose one is (TokenReview), and on routes
    /// that say so whether its holder has a right (SubjectAccessReview).
    #[name = "section of a cluster"]
    pub struct Kubernetes {
        /// The API server: `https`; `http` only on this machine.
        pub server: WebAddress = WebAddress::of_a_pod(),
        /// PEM file of the authorities to trust there, and no others. Absent: the web's.
        pub ca: Option<FilePath> = None,
        /// File of our own token, which may create reviews; read again as it changes.
        pub token: FilePath,
        /// What tokens have to be for: one of these. Absent: the API server itself.
        pub audiences: Vec<Text> = Vec::new(),
        /// For one answer.
        pub timeout: Period<100, 60_000> = Period::secs(3),
        /// How long good answers are kept: a right that was taken away is gone after that.
        pub life: Period<0, 600_000> = Period::secs(60),
        /// How long bad answers are kept.
        pub denied_life: Period<0, 600_000> = Period::secs(10),
        /// Answers of each kind that are kept.
        pub remembered: Count<1, 1_000_000> = Count::of(10_000),
        /// Connections to the API server.
        pub connections: Count<1, 1000> = Count::of(8),
        /// Requests that wait for it; one more is refused with 503.
        pub waiting: Count<1, 100_000> = Count::of(256),
        /// Whose users are: the first rule that fits.
        pub users: Vec<UserRule> = Vec::new(),
        /// Whose they are of whom no rule says anything. Absent: they are refused.
        pub tenant: Option<Name> = None,
    }
}

section! {
    /// Users of a cluster that belong to a tenant; what is said of name and group both has to fit.
    #[name = "rule of users"]
    pub struct UserRule {
        /// The user's name; `*` stands for anything between two `:`, as in
        /// `system:serviceaccount:team:*`.
        pub user: Option<NamePattern> = None,
        /// One of its groups, likewise.
        pub group: Option<NamePattern> = None,
        /// Whose it is: a name of `tenants`.
        pub tenant: Name,
    }
}

section! {
    /// A right in a cluster, as its roles have it.
    #[name = "right"]
    pub struct Access {
        /// Group of the API. Absent: the core.
        pub group: Option<Text> = None,
        /// Kind of resource, in the plural.
        pub resource: Text,
        /// A part of it, such as `log`.
        pub subresource: Option<Text> = None,
        /// Namespace. Absent: of resources that are in none.
        pub namespace: Option<Text> = None,
        /// Which one. Absent: all of them.
        pub name: Option<Text> = None,
        /// What is done to it.
        pub verb: Text = Text::of("get"),
    }
}

// === impl Authentication ===

impl Authentication {
    /// The tenants that it names, each with where it does.
    pub(crate) fn tenants(&self) -> Vec<(&Name, Vec<crate::yaml::Step<'static>>)> {
        match self {
            Self::Jwt(jwt) => {
                let named = jwt.tenant.iter();
                named
                    .map(|it| (it, vec!["jwt".into(), "tenant".into()]))
                    .collect()
            }
            Self::Certificates(rules) => {
                let path = |at: usize| vec!["certificates".into(), at.into(), "tenant".into()];
                let rules = rules.iter().enumerate();
                rules.map(|(at, rule)| (&rule.tenant, path(at))).collect()
            }
            Self::Kubernetes(cluster) => {
                let path = |at: usize| {
                    vec![
                        "kubernetes".into(),
                        "users".into(),
                        at.into(),
                        "tenant".into(),
                    ]
                };
                let rules = cluster.users.iter().enumerate();
                let rules = rules.map(|(at, rule)| (&rule.tenant, path(at)));
                let own = cluster.tenant.iter();
                let own = own.map(|it| (it, vec!["kubernetes".into(), "tenant".into()]));
                rules.chain(own).collect()
            }
        }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, resource, .. } = self;
        write!(f, "to {verb} {resource}")?;
        let rest = [
            ("/", &self.subresource),
            (".", &self.group),
            (" in ", &self.namespace),
            (" named ", &self.name),
        ];
        let told = rest.into_iter();
        told.filter_map(|(before, it)| Some((before, it.as_ref()?)))
            .try_for_each(|(before, it)| write!(f, "{before}{it}"))
    }
}

const KINDS: [&str; 3] = ["jwt", "certificates", "kubernetes"];

impl Decode for Authentication {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let one = "a way of authentication is one of `jwt`, `certificates` and `kubernetes`";
        let Kind::Map(entries) = &node.kind else {
            return cx.refuse(node.at, format!("{one}, found {}", node.describe()), None);
        };
        let [(key, value)] = &entries[..] else {
            return cx.refuse(node.at, format!("{one}, and exactly one"), None);
        };
        match key.text.as_str() {
            "jwt" => Jwt::decode(value, cx).map(|it| Self::Jwt(Box::new(it))),
            "certificates" => Vec::decode(value, cx).map(Self::Certificates),
            "kubernetes" => Kubernetes::decode(value, cx).map(|it| Self::Kubernetes(Box::new(it))),
            other => {
                let hint = crate::problem::suggest(other, "ways", KINDS);
                cx.refuse(key.at, format!("{one}, not `{other}`"), hint)
            }
        }
    }
}

fn described(schema: &Schema, what: &str) -> Schema {
    let mut schema = schema.clone();
    schema.insert("description".to_owned(), what.into());
    schema
}

impl JsonSchema for Authentication {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Authentication".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let jwt = generator.subschema_for::<Jwt>();
        let jwt = described(&jwt, "By tokens that an issuer has signed.");
        let certificates = generator.subschema_for::<Vec<CertificateRule>>();
        let certificates = described(&certificates, "By names in clients' certificates.");
        let kubernetes = generator.subschema_for::<Kubernetes>();
        let kubernetes = described(&kubernetes, "By asking the API of a cluster.");
        json_schema!({
            "description": "A way of telling who asks: one of these.",
            "type": "object",
            "properties": { "jwt": jwt, "certificates": certificates, "kubernetes": kubernetes },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
        })
    }
}

impl Decode for CertificateRule {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "rule of certificates", cx)?;
        let mut name = |key, cx: &mut Context<'_>| -> Option<Option<NamePattern>> {
            fields.take(key, Some(None), cx)
        };
        let (uri, dns) = (name("uri", cx), name("dns", cx));
        let common_name = name("common_name", cx);
        let tenant = fields.take("tenant", None, cx);
        fields.finish(cx).then_some(())?;
        let name = match (uri?, dns?, common_name?) {
            (Some(uri), None, None) => CertificateName::Uri(uri),
            (None, Some(dns), None) => CertificateName::Dns(dns),
            (None, None, Some(name)) => CertificateName::CommonName(name),
            _ => {
                let what = "a rule looks at one of `uri`, `dns` and `common-name`";
                return cx.refuse(node.at, what, None);
            }
        };
        Some(Self {
            name,
            tenant: tenant?,
        })
    }
}

impl JsonSchema for CertificateRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CertificateRule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pattern = generator.subschema_for::<NamePattern>();
        let uri = described(
            &pattern,
            "The only URI among its alternative names, such as a SPIFFE ID; `*` stands for anything \
             between two `/`.",
        );
        let dns = "A DNS name among its alternative names; `*` stands for one label.";
        let dns = described(&pattern, dns);
        let common_name = described(&pattern, "The only common name of its subject.");
        let tenant = generator.subschema_for::<Name>();
        let tenant = described(&tenant, "The tenant that they belong to.");
        json_schema!({
            "description": "Clients whose certificate has such a name belong to that tenant.",
            "type": "object",
            "properties": {
                "uri": uri, "dns": dns, "common-name": common_name, "tenant": tenant,
            },
            "required": ["tenant"],
            "minProperties": 2,
            "maxProperties": 2,
            "additionalProperties": false,
        })
    }
}
