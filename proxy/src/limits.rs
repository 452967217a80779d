//! What tenants may use, from the configuration to who counts it.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use tollgate_config::{
    Away, Config, FilePath, LimitStore, ModelLimits, Quota, QuotaWindow, Rate,
    TenantLimits as TenantSection, tokens::ModelPattern,
};
use tollgate_exchange::Limits;
use tollgate_limits::{
    self as limits, Kind, Limiter, Meter, Pattern, Plan, PlanError, Rules, Sharing, TenantLimits,
    Unit, Window,
    redis::{Place, PlaceError, Redis, Talk, Tls},
};

/// The limits cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitsError {
    #[error("limits: {0}")]
    Plan(#[from] PlanError),
    #[error("limits: {0}")]
    Place(#[from] PlaceError),
    #[error("limits: {0}: {1}")]
    File(FilePath, std::io::Error),
}

/// What goes on beside requests: the store's connection, and what is given back to it.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who counts, if anything is limited; and what has to run for it.
pub(crate) struct Counting {
    pub(crate) limits: Option<Limits>,
    pub(crate) store: Option<Redis>,
    pub(crate) tasks: Vec<Task>,
}

/// Reads the section, and what tenants have of their own. Whose a request is, is told by its identity:
/// limits know tenants by the same names. What `former` limits have counted goes on.
pub(crate) fn counting(config: &Config, former: Option<&Limits>) -> Result<Counting, LimitsError> {
    let section = &config.limits;
    if !config.limits_anything() {
        return Ok(Counting {
            limits: None,
            store: None,
            tasks: Vec::new(),
        });
    }
    let tenants = config.tenants.iter();
    let named = tenants
        .filter_map(|(name, tenant)| Some((name, tenant.limits.as_ref()?)))
        .map(|(name, own)| Ok((name.to_string(), Arc::new(tenant_limits(own)?))))
        .collect::<Result<HashMap<_, _>, PlanError>>()?;
    let others = section.default.as_ref().map(tenant_limits).transpose()?;
    let rules = Rules {
        named,
        others: others.map(Arc::new),
    };
    let mut limiter = Limiter::new(rules, section.most.get());
    if let Some(former) = former {
        limiter = limiter.after(&former.limiter);
    }
    let mut tasks: Vec<Task> = Vec::new();
    let mut store = None;
    if let Some(section) = &section.store {
        let (redis, keeper) = shared(section)?;
        tasks.push(Box::pin(keeper.run()));
        limiter = limiter.sharing(Arc::new(redis.clone()), sharing(section));
        store = Some(redis);
    }
    let limiter = Arc::new(limiter);
    if store.is_some() {
        let keeping = limiter.clone();
        tasks.push(Box::pin(async move { keeping.keep().await }));
    }
    Ok(Counting {
        limits: Some(Limits {
            limiter,
            told: section.headers,
        }),
        store,
        tasks,
    })
}

fn tenant_limits(section: &TenantSection) -> Result<TenantLimits, PlanError> {
    let models = section.models.iter().map(|of| {
        let ModelLimits {
            model,
            requests,
            tokens,
            quotas,
        } = of;
        let plan = plan(requests.as_ref(), tokens.as_ref(), quotas)?;
        Ok::<_, PlanError>((pattern(model), Arc::new(plan)))
    });
    Ok(TenantLimits {
        all: Arc::new(plan(
            section.requests.as_ref(),
            section.tokens.as_ref(),
            &section.quotas,
        )?),
        models: models.collect::<Result<_, PlanError>>()?,
        concurrency: section.concurrency.map(|most| most.get_u32()),
    })
}

fn pattern(pattern: &ModelPattern) -> Pattern {
    let text = pattern.text().to_owned();
    match pattern.is_open() {
        true => Pattern::Begins(text),
        false => Pattern::Is(text),
    }
}

fn plan(
    requests: Option<&Rate>,
    tokens: Option<&Rate>,
    quotas: &[Quota],
) -> Result<Plan, PlanError> {
    let mut meters = Vec::new();
    for (unit, rate) in [(Unit::Requests, requests), (Unit::Tokens, tokens)] {
        if let Some(rate) = rate {
            let kind = Kind::Rate {
                amount: rate.amount.get(),
                per: rate.per.get(),
                burst: rate.burst(),
            };
            meters.push(Meter::new(unit, kind)?);
        }
    }
    for quota in quotas {
        let window = match quota.per {
            QuotaWindow::Day => Window::Day,
            QuotaWindow::Month => Window::Month,
        };
        for (unit, amount) in [
            (Unit::Requests, quota.requests),
            (Unit::Tokens, quota.tokens),
        ] {
            if let Some(amount) = amount {
                let amount = amount.get();
                meters.push(Meter::new(unit, Kind::Quota { amount, window })?);
            }
        }
    }
    Plan::new(meters)
}

fn shared(section: &LimitStore) -> Result<(Redis, limits::redis::Keeper), LimitsError> {
    let tls = match section.address.is_tls() {
        false => None,
        true => Some(Tls {
            ca_pem: match &section.ca {
                None => None,
                Some(file) => Some(
                    std::fs::read(file).map_err(|error| LimitsError::File(file.clone(), error))?,
                ),
            },
        }),
    };
    let place = Place {
        host: section.address.host().to_owned(),
        port: section.address.port(),
        tls,
    };
    let talk = Talk {
        user: section.user.as_ref().map(ToString::to_string),
        password_file: section
            .password
            .as_ref()
            .map(|file| file.as_path().to_owned()),
        database: section.database.get_u32(),
        timeout: section.timeout.get(),
        pipeline: section.pipeline.get(),
        failures: section.failures.get_u32(),
        first_pause: section.pause.get(),
        longest_pause: section.longest_pause.get(),
    };
    let prefix = section.prefix.as_ref().map_or("tollgate", |it| it.as_str());
    Ok(Redis::new(&place, prefix, talk)?)
}

fn sharing(section: &LimitStore) -> Sharing {
    Sharing {
        away: match section.away {
            Away::Deny => limits::Away::Deny,
            Away::Allow => limits::Away::Allow,
            Away::Local => limits::Away::Local {
                percent: section.share.get() as u64,
            },
        },
        lease: section.lease.get() as u64,
        life: section.lease_life.get(),
    }
}
