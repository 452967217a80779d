//! Interface `log`: rate-limited lines, marked with the plugin and the request.

use super::Guest;
use crate::bindings::protocol::tollgate::plugin::log;

/// Longest line that is kept, in bytes.
const LINE: usize = 1024;

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let Some(left) = self.log_allowance.checked_sub(1) else {
            return Ok(());
        };
        self.log_allowance = left;
        // Before it is cut: nobody would find a piece of a secret.
        let message = self.mask.text(message);
        let end = message.floor_char_boundary(LINE);
        let message = message[..end].escape_debug();
        let plugin = &*self.plugin;
        let request = self.request.as_deref().unwrap_or("-");
        match level {
            log::Level::Debug => tracing::debug!(target: "plugin", plugin, request, "{message}"),
            log::Level::Info => tracing::info!(target: "plugin", plugin, request, "{message}"),
            log::Level::Warn => tracing::warn!(target: "plugin", plugin, request, "{message}"),
            log::Level::Error => tracing::error!(target: "plugin", plugin, request, "{message}"),
        }
        Ok(())
    }
}
