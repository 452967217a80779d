//! The programs that benchmarks are made of, one module each: a model server that costs little
//! ([`stub`]), a load generator that checks every answer ([`load`]), the least that a correct
//! proxy does ([`bare`]), and what a process has used ([`process`]).
//!
//! What the stub says is known to the load generator ([`known`]), so that an answer that was
//! changed, cut or mixed up on its way is an error and not a fast answer.
#![forbid(unsafe_code)]

pub mod alarm;
pub mod bare;
pub mod frames;
pub mod known;
pub mod load;
pub mod net;
pub mod process;
pub mod proto;
pub mod stub;
