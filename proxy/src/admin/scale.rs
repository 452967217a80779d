//! `/scale`: what is asked of each model now, for whoever decides how many workers it should have.
//!
//! `waiting` are calls without a worker, `running` those that a worker has, `demand` both. A model
//! that the configuration names is there before it has a worker, so that it can be scaled from zero.
//! `/scale?model=NAME` tells of one model alone, which an autoscaler that reads one value of a JSON
//! document finds without spelling the name in a path.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tollgate_dispatch::intern::{Key, Load};

use crate::run::Running;

/// The models of all routes, by the names that workers have them under.
pub(crate) fn models(running: &Running) -> BTreeMap<String, Load> {
    let assembled = &running.assembled;
    let views = assembled.routes.iter().map(|route| route.spec().view);
    let shown = views.flat_map(|view| assembled.house.catalogue.list(view, |_| true));
    shown.map(|model| told(&model.model)).collect()
}

fn told(model: &Key) -> (String, Load) {
    (model.name().to_string(), model.load())
}

/// The answer; none: there is no such model.
pub(super) fn answer(running: &Running, query: Option<&str>) -> Option<Value> {
    let models = models(running);
    let wanted = query.and_then(|query| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, name) = pairs.find(|(key, _)| *key == "model")?;
        let name = name.replace('+', " ");
        Some(percent_decode_str(&name).decode_utf8_lossy().into_owned())
    });
    match wanted {
        Some(name) => models.get(&name).map(|load| shape(*load)),
        None => {
            let sum = models.values().fold(Load::default(), |sum, load| Load {
                waiting: sum.waiting + load.waiting,
                running: sum.running + load.running,
            });
            let each = models
                .iter()
                .map(|(name, load)| (name.clone(), shape(*load)));
            let each: Map<String, Value> = each.collect();
            let mut all = shape(sum);
            all["models"] = each.into();
            Some(all)
        }
    }
}

fn shape(Load { waiting, running }: Load) -> Value {
    json!({ "waiting": waiting, "running": running, "demand": waiting + running })
}
