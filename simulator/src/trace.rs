//! Traces as CSV: a header that names columns, and a line for each request.
//!
//! Columns are `at_us` (required, rising), `model`, `tenant`, `batch_key`, `priority`, `input`,
//! `output`, `guess` (of the output, before it is known), `deadline_us` (after `at_us`; empty: none), `prefix` and `blocks`; what is not there
//! or empty is as in a request for which nothing is said. Nothing is quoted: all are numbers.

use std::io::{BufRead, Write};
use std::str::FromStr;

use crate::load::Job;

const COLUMNS: [&str; 11] = [
    "at_us",
    "model",
    "tenant",
    "batch_key",
    "priority",
    "input",
    "output",
    "guess",
    "deadline_us",
    "prefix",
    "blocks",
];

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The first line.
    #[error("line 1: {0}")]
    Header(String),
    /// A line after it.
    #[error("line {line}: {why}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// Reads a trace.
///
/// # Errors
/// It is not one; says where and why.
pub fn read(from: impl BufRead) -> Result<Vec<Job>, TraceError> {
    let mut lines = from.lines();
    let header = lines.next().transpose()?.unwrap_or_default();
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    for (at, name) in names.iter().enumerate() {
        if !COLUMNS.contains(name) {
            let known = COLUMNS.join(", ");
            return Err(TraceError::Header(format!(
                "no column `{name}`; there are {known}"
            )));
        }
        if names[..at].contains(name) {
            return Err(TraceError::Header(format!(
                "column `{name}` is there twice"
            )));
        }
    }
    if !names.contains(&"at_us") {
        return Err(TraceError::Header("column `at_us` is missing".into()));
    }
    let mut jobs: Vec<Job> = Vec::new();
    for (at, line) in lines.enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |why: String| TraceError::Line { line: at + 2, why };
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != names.len() {
            let why = format!("{} cells for {} columns", cells.len(), names.len());
            return Err(wrong(why));
        }
        let mut job = Job {
            input: 1,
            ..Job::default()
        };
        for (name, cell) in names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            set(&mut job, name, cell).map_err(|why| wrong(format!("{name}: `{cell}`: {why}")))?;
        }
        if jobs.last().is_some_and(|last| last.at > job.at) {
            return Err(wrong("it comes before the one above".into()));
        }
        jobs.push(job);
    }
    Ok(jobs)
}

fn set(job: &mut Job, name: &str, cell: &str) -> Result<(), String> {
    fn number<T: FromStr>(cell: &str) -> Result<T, String>
    where
        T::Err: std::fmt::Display,
    {
        cell.parse().map_err(|error: T::Err| error.to_string())
    }
    match name {
        "at_us" => job.at = number(cell)?,
        "model" => job.model = number(cell)?,
        "tenant" => job.tenant = number(cell)?,
        "batch_key" => job.batch_key = number(cell)?,
        "priority" => job.priority = number(cell)?,
        "input" => job.input = number(cell)?,
        "output" => job.output = number(cell)?,
        "guess" => job.guess = Some(number(cell)?),
        "deadline_us" => job.deadline = Some(number(cell)?),
        "prefix" => job.prefix = number(cell)?,
        _ => job.blocks = number(cell)?,
    }
    Ok(())
}

/// Writes a trace that [`read`] takes.
///
/// # Errors
/// It cannot be written.
pub fn write(to: &mut impl Write, jobs: impl Iterator<Item = Job>) -> std::io::Result<()> {
    writeln!(to, "{}", COLUMNS.join(","))?;
    for job in jobs {
        let deadline = job.deadline.map(|at| at.to_string()).unwrap_or_default();
        let guess = job.guess.map(|it| it.to_string()).unwrap_or_default();
        writeln!(
            to,
            "{},{},{},{},{},{},{},{guess},{deadline},{},{}",
            job.at,
            job.model,
            job.tenant,
            job.batch_key,
            job.priority,
            job.input,
            job.output,
            job.prefix,
            job.blocks
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Generator;

    #[test]
    fn what_is_written_is_read() {
        let text = "poisson:rate=50,seconds=2,deadline-ms=5,prefixes=3,tenants=2,modesty=3";
        let jobs: Vec<Job> = Generator::read(text).unwrap().jobs(1).collect();
        let mut file = Vec::new();
        write(&mut file, jobs.iter().cloned()).unwrap();
        assert_eq!(read(file.as_slice()).unwrap(), jobs);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, part) in [
            ("", "`"),
            ("model\n1", "at_us"),
            ("at_us,colour\n", "colour"),
            ("at_us,at_us\n", "twice"),
            ("at_us,input\n5,x\n", "line 2: input"),
            ("at_us\n5\n\n4\n", "line 4"),
            ("at_us,input\n5\n", "1 cells for 2"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert_eq!(read("input,at_us\n,7\n".as_bytes()).unwrap()[0].input, 1);
    }
}
