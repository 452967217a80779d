//! A call with several inputs as calls with one each: their items are numbered on.

use tollgate_sdk_compose::{
    failure,
    inference::{Embed, Event, Generate, Task, Tokenize},
    types::Failure,
};

use crate::fan::Goal;

/// Tasks of one input each.
pub(crate) type Tasks = Box<dyn Iterator<Item = Task>>;

/// Puts the items of the calls one behind the other.
pub(crate) struct List {
    /// Items of one call: answers to a prompt, or 1.
    each: u32,
    /// Items that must be told complete, by call: vectors or token counts; none where an item's own
    /// end is enough.
    told: Option<Vec<bool>>,
}

impl List {
    /// The tasks with one input each, made as they are wanted.
    ///
    /// # Errors
    /// When there is no list of inputs in it.
    pub(crate) fn of(task: Task) -> Result<(Tasks, Self), Failure> {
        Ok(match task {
            Task::Generate(Generate { prompts, settings }) => {
                let each = settings.n.max(1);
                let one = move |prompt| {
                    Task::Generate(Generate {
                        prompts: vec![prompt],
                        settings: settings.clone(),
                    })
                };
                let tasks: Tasks = Box::new(prompts.into_iter().map(one));
                (tasks, Self { each, told: None })
            }
            Task::Embed(mut task) => {
                let inputs = std::mem::take(&mut task.inputs);
                let goal = Self::counted(inputs.len());
                let one = move |input| {
                    Task::Embed(Embed {
                        inputs: vec![input],
                        ..task.clone()
                    })
                };
                (Box::new(inputs.into_iter().map(one)), goal)
            }
            Task::Tokenize(mut task) => {
                let inputs = std::mem::take(&mut task.inputs);
                let goal = Self::counted(inputs.len());
                let one = move |input| {
                    Task::Tokenize(Tokenize {
                        inputs: vec![input],
                        ..task.clone()
                    })
                };
                (Box::new(inputs.into_iter().map(one)), goal)
            }
            _ => return Err(failure::unsupported("this task is not composed here")),
        })
    }

    /// One answer to each of so many inputs.
    fn counted(inputs: usize) -> Self {
        Self {
            each: 1,
            told: Some(vec![false; inputs]),
        }
    }

    fn number(&self, call: usize, item: &mut u32) -> Result<(), Failure> {
        if *item >= self.each {
            return Err(failure::upstream_invalid(
                "the worker answered more than it was asked",
            ));
        }
        // The fan-out and the answers to a prompt are bounded, far below the product's limit.
        *item = u32::try_from(call)
            .ok()
            .and_then(|call| call.checked_mul(self.each)?.checked_add(*item))
            .ok_or_else(|| failure::invalid("too many answers in one request", Some("n")))?;
        Ok(())
    }

    /// The one answer to a call's one input.
    fn once(&mut self, call: usize) -> Result<(), Failure> {
        match self.told.as_mut().and_then(|told| told.get_mut(call)) {
            Some(told @ false) => {
                *told = true;
                Ok(())
            }
            _ => Err(failure::upstream_invalid(
                "the worker answered what it was not asked, or twice",
            )),
        }
    }
}

impl Goal for List {
    fn take(
        &mut self,
        call: usize,
        mut event: Event,
        told: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        match &mut event {
            Event::Started(it) => self.number(call, &mut it.item)?,
            Event::Delta(it) => self.number(call, &mut it.item)?,
            Event::Finished(it) => self.number(call, &mut it.item)?,
            Event::Embeddings(all) => {
                for it in all {
                    self.number(call, &mut it.item)?;
                    self.once(call)?;
                }
            }
            Event::Tokenized(all) => {
                for it in all {
                    self.number(call, &mut it.item)?;
                    self.once(call)?;
                }
            }
            // Nothing else is an answer to these tasks.
            _ => return Ok(()),
        }
        told.push(event);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<Event>) -> Result<(), Failure> {
        match &self.told {
            Some(told) if !told.iter().all(|told| *told) => Err(failure::upstream_invalid(
                "the worker left an input without an answer",
            )),
            _ => Ok(()),
        }
    }
}
