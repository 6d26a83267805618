//! Opens the window, and says what to do where none can be opened.
//!
//! Invariant: a machine without a graphics driver gets a page that names the packages to install, never a bare error code. Guarded by
//! the tests below.

use std::path::Path;

use anyhow::anyhow;
use eframe::egui;
use kinebrush_engine::media::atomic::write_atomic;

use super::{Options, Studio};

/// Smallest window that all panels fit into, points.
const SMALLEST: [f32; 2] = [960.0, 600.0];

/// What to do when there is nothing to draw with.
const ADVICE: &[(&str, &str)] = &[
    ("Debian, Ubuntu", "sudo apt install libvulkan1 mesa-vulkan-drivers"),
    ("Fedora", "sudo dnf install vulkan-loader mesa-vulkan-drivers"),
    ("Arch", "sudo pacman -S vulkan-icd-loader vulkan-swrast"),
    ("Windows, macOS", "update the system and the graphics driver"),
];

/// Runs the studio until its window is closed.
///
/// # Errors
/// When no window can be opened: what is missing, and what to install.
pub fn run(options: Options) -> anyhow::Result<()> {
    open_window(Box::new(move |cc| Ok(Box::new(Studio::new(cc, options)))))
}

/// Runs what `creator` makes in a window of its own.
pub(super) fn open_window(creator: eframe::AppCreator) -> anyhow::Result<()> {
    let icon = eframe::icon_data::from_png_bytes(include_bytes!("../../../assets/icon/kinebrush.png")).unwrap_or_default();
    let viewport = egui::ViewportBuilder::default()
        .with_title("Kinebrush")
        .with_app_id("kinebrush")
        .with_icon(icon)
        .with_inner_size([1280.0, 800.0])
        .with_min_inner_size(SMALLEST)
        .with_drag_and_drop(true);
    let window = eframe::NativeOptions { viewport, dithering: false, ..Default::default() };
    eframe::run_native("Kinebrush", window, creator).map_err(|error| match error {
        eframe::Error::Wgpu(error) => no_graphics(&error.to_string(), &std::env::temp_dir()),
        eframe::Error::Winit(_) | eframe::Error::WinitEventLoop(_) => {
            anyhow!("there is no display to open a window on ({error}); `kinebrush render PROJECT.ron -o OUT.mp4` needs none")
        }
        error => anyhow!("the window could not be opened ({error})"),
    })
}

/// Writes a page with what to install and opens it; the error says the same in one line.
fn no_graphics(reason: &str, folder: &Path) -> anyhow::Error {
    let page = folder.join("kinebrush-needs-a-graphics-driver.html");
    let shown = write_atomic(&page, |out| out.write_all(advice_page(reason).as_bytes())).is_ok() && open_page(&page);
    let seen = if shown { format!("; {} has opened and says more", page.display()) } else { String::new() };
    anyhow!("there is nothing to draw with ({reason}): install a Vulkan driver, for example `{}`{seen}", ADVICE[0].1)
}

fn advice_page(reason: &str) -> String {
    let rows: String = ADVICE.iter().map(|(system, what)| format!("<tr><td>{system}</td><td><code>{what}</code></td></tr>\n")).collect();
    let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Kinebrush</title>\n\
         <style>body{{font:17px/1.6 sans-serif;margin:12vh auto;max-width:46em;color:#222}}td{{padding:.2em 1.2em .2em 0}}</style>\n\
         <h1>Kinebrush found nothing to draw with</h1>\n\
         <p>The studio draws with Vulkan, Metal or DirectX 12. No graphics card is needed: a software driver will do.</p>\n\
         <table>{rows}</table>\n<p>Then start Kinebrush again. Rendering from the command line works without.</p>\n\
         <p><small>The system said: {reason}</small></p>\n"
    )
}

/// Opens a file with the system's own program for it.
pub(super) fn open_page(page: &Path) -> bool {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    std::process::Command::new(program).arg(page).spawn().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_what_to_install_and_what_the_system_said() {
        let page = advice_page("no adapter <none>");
        assert!(page.contains("mesa-vulkan-drivers") && page.contains("no adapter &lt;none>"), "{page}");
    }
}
