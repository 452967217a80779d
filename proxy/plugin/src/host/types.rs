//! Interface `types` and `inference`: vocabulary only.

use super::Guest;
use crate::bindings::protocol::tollgate::plugin::{inference, types};

impl types::Host for Guest {}
impl inference::Host for Guest {}
