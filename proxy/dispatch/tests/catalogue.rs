//! What routes see of the workers' models.

use std::sync::Arc;

use tollgate_dispatch::Interner;
use tollgate_dispatch::catalogue::{
    Catalogue, ModelFacts, NotFound, Shown, TensorFacts, View, Visible,
};
use tollgate_dispatch::health::Thresholds;
use tollgate_dispatch::worker::{Report, Served, WorkerError, WorkerHandle, WorkerSpec, Workers};

fn workers() -> Workers {
    Workers::new(4, Arc::new(Interner::new(64)))
}

fn spec(name: &str, models: &[(&str, &str)]) -> WorkerSpec {
    WorkerSpec {
        name: name.into(),
        section: name.into(),
        slots: 1,
        max_batch: 1,
        slow_start: 0,
        models: models
            .iter()
            .map(|(name, served_as)| Served {
                name: (*name).into(),
                served_as: (*served_as).into(),
                tasks: None,
            })
            .collect(),
        protocol: "parcel".into(),
        dialects: Vec::new(),
        options: "{}".into(),
        tasks: vec!["generate".into()],
        thresholds: Thresholds::default(),
    }
}

fn facts(name: &str, change: impl FnOnce(&mut ModelFacts)) -> ModelFacts {
    let mut facts = ModelFacts {
        name: name.into(),
        ready: true,
        ..ModelFacts::default()
    };
    change(&mut facts);
    facts
}

fn report(models: Vec<ModelFacts>) -> Report {
    Report {
        ready: true,
        models,
        ..Report::default()
    }
}

fn view(workers: &[&str]) -> View {
    View {
        workers: workers.iter().map(|name| (*name).into()).collect(),
        ..View::default()
    }
}

fn names(catalogue: &Catalogue, view: usize) -> Vec<String> {
    let listed = catalogue.list(view, |_| true);
    listed.iter().map(|model| model.name.to_string()).collect()
}

#[test]
fn a_configured_model_is_found_under_its_name_and_served_under_another() {
    let workers = workers();
    let one = workers.add(spec("one", &[("granite", "g-1")])).unwrap();
    let two = workers.add(spec("two", &[("granite", "g-2")])).unwrap();
    let catalogue = Catalogue::new(vec![view(&["one", "two"]), view(&["two"])]);
    assert_eq!(
        catalogue.resolve(0, Some("granite")).err(),
        Some(NotFound::Unknown("granite".into()))
    );
    catalogue.publish(&workers.all());
    let found = catalogue.resolve(0, Some("granite")).unwrap();
    assert_eq!(*found.eligible, [one.id(), two.id()]);
    assert_eq!(found.served_as(one.id()).unwrap().as_ref(), "g-1");
    assert_eq!(found.served_as(two.id()).unwrap().as_ref(), "g-2");
    assert!(one.view(0).models.contains(&found.model.number()));
    let narrow = catalogue.resolve(1, Some("granite")).unwrap();
    assert_eq!(*narrow.eligible, [two.id()]);
    assert!(catalogue.resolve(2, Some("granite")).is_err());
}

#[test]
fn the_default_is_used_when_no_model_is_named_and_only_then() {
    let workers = workers();
    workers
        .add(spec("one", &[("granite", "g"), ("other", "o")]))
        .unwrap();
    let with_default = View {
        default_model: Some("other".into()),
        ..view(&["one"])
    };
    let catalogue = Catalogue::new(vec![view(&["one"]), with_default]);
    catalogue.publish(&workers.all());
    assert_eq!(catalogue.resolve(0, None).err(), Some(NotFound::Unnamed));
    assert_eq!(&*catalogue.resolve(1, None).unwrap().name, "other");
    assert_eq!(
        catalogue.resolve(1, Some("nope")).err(),
        Some(NotFound::Unknown("nope".into()))
    );
}

#[test]
fn aliases_show_what_is_listed_and_nothing_else() {
    let workers = workers();
    workers
        .add(spec("one", &[("granite", "g"), ("hidden", "h")]))
        .unwrap();
    let aliased = View {
        visible: Visible::Only(vec![
            Shown {
                name: "gpt-4".into(),
                is: "granite".into(),
            },
            Shown {
                name: "missing".into(),
                is: "nowhere".into(),
            },
        ]),
        ..view(&["one"])
    };
    let catalogue = Catalogue::new(vec![aliased]);
    catalogue.publish(&workers.all());
    assert_eq!(names(&catalogue, 0), ["gpt-4"]);
    let found = catalogue.resolve(0, Some("gpt-4")).unwrap();
    assert_eq!(&**found.model.name(), "granite");
    assert_eq!(found.facts.name, "gpt-4");
    assert!(catalogue.resolve(0, Some("granite")).is_err());
}

#[test]
fn who_may_not_see_a_model_is_not_shown_it() {
    let workers = workers();
    workers
        .add(spec("one", &[("a", "a"), ("b", "b"), ("c", "c")]))
        .unwrap();
    let catalogue = Catalogue::new(vec![view(&["one"])]);
    catalogue.publish(&workers.all());
    let seen = catalogue.list(0, |name| name != "b");
    let seen: Vec<_> = seen.iter().map(|model| &*model.name).collect();
    assert_eq!(seen, ["a", "c"]);
}

#[test]
fn probes_tell_models_where_the_configuration_is_silent() {
    let workers = workers();
    let one = workers.add(spec("one", &[])).unwrap();
    let catalogue = Catalogue::new(vec![view(&["one"])]);
    let first = one.probed(report(vec![facts("llama", |_| ())]));
    assert!(first.models && first.fitness);
    let again = one.probed(report(vec![facts("llama", |_| ())]));
    assert!(!again.models && !again.fitness);
    catalogue.publish(&workers.all());
    assert_eq!(names(&catalogue, 0), ["llama"]);
    // A probe that fails, or says nothing, takes no model away.
    assert!(!one.probed(Report::default()).models);
    assert!(!one.probed(report(Vec::new())).models);
    assert!(one.probed(report(vec![facts("other", |_| ())])).models);
    catalogue.publish(&workers.all());
    assert_eq!(names(&catalogue, 0), ["other"]);
}

#[test]
fn facts_of_many_workers_are_merged_with_care() {
    let workers = workers();
    let one = workers.add(spec("one", &[("m", "m-one")])).unwrap();
    let two = workers.add(spec("two", &[("m", "m-two")])).unwrap();
    one.probed(report(vec![facts("m-one", |facts| {
        facts.max_length = Some(4096);
        facts.versions = vec!["1".into()];
        facts.tasks = vec!["embed".into()];
        facts.platform = "first".into();
    })]));
    two.probed(report(vec![facts("m-two", |facts| {
        facts.max_length = Some(2048);
        facts.max_new_tokens = Some(100);
        facts.versions = vec!["1".into(), "2".into()];
        facts.parent = Some("base".into());
        facts.platform = "second".into();
    })]));
    let catalogue = Catalogue::new(vec![view(&["one", "two"])]);
    catalogue.publish(&workers.all());
    let found = catalogue.resolve(0, Some("m")).unwrap();
    let expected = ModelFacts {
        name: "m".into(),
        versions: vec!["1".into(), "2".into()],
        max_length: Some(2048),
        max_new_tokens: Some(100),
        parent: Some("base".into()),
        tasks: vec!["embed".into(), "generate".into()],
        ready: true,
        platform: "first".into(),
        ..ModelFacts::default()
    };
    assert_eq!(found.facts, expected);
    assert_eq!(**found.offering("embed").unwrap(), [one.id()]);
    assert_eq!(**found.offering("generate").unwrap(), [two.id()]);
    assert!(found.offering("rerank").is_none());
    assert_eq!(found.tasks().collect::<Vec<_>>(), ["embed", "generate"]);
}

#[test]
fn a_model_that_is_ready_somewhere_goes_there_only() {
    let workers = workers();
    let one = workers.add(spec("one", &[("m", "m")])).unwrap();
    let two = workers.add(spec("two", &[("m", "m")])).unwrap();
    let catalogue = Catalogue::new(vec![view(&["one", "two"])]);
    let found = || {
        catalogue.publish(&workers.all());
        catalogue.resolve(0, Some("m")).unwrap()
    };
    let absent = |worker: &WorkerHandle| {
        worker.probed(report(vec![facts("something else", |_| ())]));
    };
    one.probed(report(vec![facts("m", |_| ())]));
    absent(&two);
    assert_eq!(*found().eligible, [one.id()]);
    assert!(found().facts.ready);
    absent(&one);
    assert_eq!(*found().eligible, [one.id(), two.id()]);
    assert!(!found().facts.ready);
}

#[test]
fn a_model_on_workers_that_are_not_fit_is_not_ready() {
    let workers = workers();
    let one = workers.add(spec("one", &[("m", "m")])).unwrap();
    let catalogue = Catalogue::new(vec![view(&["one"])]);
    catalogue.publish(&workers.all());
    assert!(!catalogue.resolve(0, Some("m")).unwrap().facts.ready);
    one.probed(report(Vec::new()));
    catalogue.publish(&workers.all());
    assert!(catalogue.resolve(0, Some("m")).unwrap().facts.ready);
}

#[test]
fn workers_that_cannot_be_are_refused() {
    let workers = workers();
    let error = |spec| workers.add(spec).err().unwrap();
    let mut narrow = spec("narrow", &[]);
    narrow.slots = 0;
    assert_eq!(error(narrow), WorkerError::NoRoom("narrow".into()));
    assert_eq!(
        error(spec("double", &[("m", "a"), ("m", "b")])),
        WorkerError::ModelTwice("double".into(), "m".into())
    );
    let mut broken = spec("broken", &[]);
    broken.thresholds.healthy_after = 0;
    assert!(matches!(error(broken), WorkerError::Thresholds(..)));
    let one = workers.add(spec("one", &[])).unwrap();
    assert_eq!(error(spec("one", &[])), WorkerError::Twice("one".into()));
    for name in ["two", "three", "four"] {
        workers.add(spec(name, &[])).unwrap();
    }
    assert_eq!(error(spec("five", &[])), WorkerError::TooMany);

    // A changed worker comes under the old name with a new number.
    assert!(workers.remove(one.id()).is_some());
    let new = workers.add(spec("one", &[])).unwrap();
    assert_ne!(new.id(), one.id());
    assert_eq!(workers.named("one").unwrap().id(), new.id());
    assert!(workers.get(one.id()).is_none());
}

#[test]
fn who_names_no_model_means_the_only_one_and_its_adapters_do_not_count() {
    let workers = workers();
    let one = workers.add(spec("one", &[])).unwrap();
    let catalogue = Catalogue::new(vec![view(&["one"])]);
    let adapter = |name| facts(name, |facts| facts.parent = Some("base".into()));
    one.probed(report(vec![
        facts("base", |_| ()),
        adapter("a"),
        adapter("b"),
    ]));
    catalogue.publish(&workers.all());
    assert_eq!(&*catalogue.resolve(0, None).unwrap().name, "base");
    one.probed(report(vec![facts("base", |_| ()), facts("other", |_| ())]));
    catalogue.publish(&workers.all());
    assert_eq!(catalogue.resolve(0, None).err(), Some(NotFound::Unnamed));
}

#[test]
fn tasks_of_the_configuration_have_the_last_word() {
    let workers = workers();
    let mut limited = spec("one", &[("e", "e"), ("g", "g")]);
    limited.models[0].tasks = Some(vec!["embed".into(), "rerank".into()]);
    let one = workers.add(limited).unwrap();
    one.probed(report(vec![
        facts("e", |facts| facts.tasks = vec!["generate".into()]),
        facts("g", |_| ()),
    ]));
    let catalogue = Catalogue::new(vec![view(&["one"])]);
    catalogue.publish(&workers.all());
    let found = catalogue.resolve(0, Some("e")).unwrap();
    assert_eq!(found.tasks().collect::<Vec<_>>(), ["embed", "rerank"]);
    assert!(found.admits(one.id(), "rerank") && !found.admits(one.id(), "generate"));
    let other = catalogue.resolve(0, Some("g")).unwrap();
    assert!(other.offering("generate").is_some() && other.admits(one.id(), "anything"));
}

#[test]
fn tensors_that_a_worker_told_are_known_until_its_next_probe() {
    let workers = workers();
    let one = workers.add(spec("one", &[("m", "served")])).unwrap();
    let tensor = TensorFacts {
        name: "x".into(),
        datatype: "fp32".into(),
        shape: vec![-1],
    };
    let told = facts("served", |facts| facts.inputs = vec![tensor.clone()]);
    assert!(!one.told("m", &told), "no probe would ever end it");
    one.probed(report(vec![facts("served", |_| ())]));
    assert!(one.told("m", &told));
    assert!(!one.told("m", &told), "it is known");
    assert!(!one.told("stranger", &told), "no names are added");
    let catalogue = Catalogue::new(vec![view(&["one"])]);
    catalogue.publish(&workers.all());
    let inputs = || {
        catalogue
            .resolve(0, Some("m"))
            .unwrap()
            .facts
            .inputs
            .clone()
    };
    assert_eq!(inputs(), [tensor]);
    assert!(one.probed(report(vec![facts("served", |_| ())])).models);
    catalogue.publish(&workers.all());
    assert_eq!(inputs(), []);
}

#[test]
fn a_model_whose_workers_are_still_to_come_is_there_without_a_worker() {
    let names = Arc::new(Interner::new(64));
    let workers = Workers::new(4, names.clone());
    let catalogue = Catalogue::new(vec![View {
        awaited: vec![names.intern("granite").unwrap()],
        ..view(&["fleet"])
    }]);
    let mut published = catalogue.published();
    catalogue.publish(&workers.all());
    assert!(published.has_changed().unwrap());
    published.mark_unchanged();
    let found = catalogue.resolve(0, Some("granite")).unwrap();
    assert!(found.awaited() && found.eligible.is_empty() && !found.facts.ready);

    let one = workers.add(WorkerSpec {
        section: "fleet".into(),
        ..spec("fleet@a", &[("granite", "g")])
    });
    let one = one.unwrap();
    catalogue.publish(&workers.all());
    assert!(published.has_changed().unwrap());
    let found = catalogue.resolve(0, Some("granite")).unwrap();
    assert_eq!(
        (found.awaited(), &*found.eligible),
        (false, &[one.id()][..])
    );
    workers.remove(one.id());
    catalogue.publish(&workers.all());
    assert!(catalogue.resolve(0, Some("granite")).unwrap().awaited());
}
