//! Exports under way.

use super::document::job::Wake;
use super::toast::Toasts;
use super::*;

/// Exports under way.
pub(super) struct Exports {
    wake: Wake,
}

impl Exports {
    pub fn new(wake: Wake) -> Self {
        Self { wake }
    }

    pub fn is_running(&self) -> bool {
        false
    }

    pub fn cancel_all(&mut self) {}

    pub fn poll(&mut self, _toasts: &mut Toasts) {
        let _ = &self.wake;
    }
}

impl Studio {
    pub(super) fn export_ui(&mut self, _ui: &mut egui::Ui, _actions: &mut Vec<Action>) {}

    /// Writes the shown take to `path`.
    pub fn export_shown_take(&mut self, _path: PathBuf) {}

    /// Whether a file is being written.
    pub fn is_exporting(&self) -> bool {
        self.exports.is_running()
    }
}
