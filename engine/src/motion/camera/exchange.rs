//! Camera paths for other programs: JSON with one matrix per frame.
//!
//! `{"format": "kinebrush-camera", "version": 1, "fps": 16, "width": W, "height": H, "frames": [{"frame": 0, "fov_deg": 50, "matrix": [[4
//! numbers], ...]}]}`: `matrix` takes camera space to world space, by rows; x to the right, y down, z ahead; `fov_deg` spans the longer
//! side. `packaging/blender/kinebrush_camera.py` reads and writes it. Invariant: what was written comes back as the same camera at every
//! frame. Guarded by the tests below.

use std::path::Path;

use glam::{Mat3, Quat, Vec3};
use serde::{Deserialize, Serialize};

use super::path::{CameraKey, CameraPath, Curve};
use crate::media::atomic::write_atomic;
use crate::motion::stroke::MAX_FRAMES;
use crate::{Error, Result};

const FORMAT: &str = "kinebrush-camera";
/// Larger files are refused.
const MAX_BYTES: u64 = 64 << 20;
/// How far a matrix may be from a rotation.
const RIGID: f32 = 0.02;

#[derive(Serialize, Deserialize)]
struct Exchange {
    format: String,
    version: u32,
    fps: f32,
    width: usize,
    height: usize,
    frames: Vec<Frame>,
}

#[derive(Serialize, Deserialize)]
struct Frame {
    frame: f32,
    fov_deg: f32,
    /// Rows.
    matrix: [[f32; 4]; 4],
}

impl CameraPath {
    /// The camera at each of `frames` frames, for a picture of this size, as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which is a fault of the program.
    pub fn to_json(&self, picture: (usize, usize), frames: usize) -> Result<String> {
        let frame = |i: usize| {
            let camera = self.camera(picture, i as f32);
            let (turn, p) = (Mat3::from_quat(camera.rotation), camera.position);
            let row = |axis: usize| [turn.x_axis[axis], turn.y_axis[axis], turn.z_axis[axis], p[axis]];
            let matrix = [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]];
            let half = picture.0.max(picture.1) as f32 * 0.5;
            Frame { frame: i as f32, fov_deg: (half / camera.lens.focal_px).atan().to_degrees() * 2.0, matrix }
        };
        let exchange = Exchange {
            format: FORMAT.into(),
            version: 1,
            fps: 16.0,
            width: picture.0,
            height: picture.1,
            frames: (0..frames.clamp(1, MAX_FRAMES)).map(frame).collect(),
        };
        serde_json::to_string_pretty(&exchange).map_err(|e| Error::field("camera", format!("cannot be written as JSON ({e})")))
    }

    /// This path with the keys of a JSON text instead of its own, one per frame; depth and lens stay, looking at something and trembling
    /// do not, as the matrices hold all that. Other frame rates are brought to 16 frames a second.
    ///
    /// # Errors
    /// What in the text is not understood or cannot be used.
    pub fn from_json(&self, text: &str, picture: (usize, usize)) -> Result<Self> {
        let wrong = |what: String| Error::field("camera file", what);
        let exchange: Exchange = serde_json::from_str(text)
            .map_err(|e| wrong(format!("is not understood ({e}); export it with the Blender script or from Kinebrush")))?;
        if exchange.format != FORMAT || exchange.version != 1 {
            return Err(wrong(format!("is `{}` version {}, not `{FORMAT}` version 1", exchange.format, exchange.version)));
        }
        if !(exchange.fps >= 0.1 && exchange.fps <= 1000.0) {
            return Err(wrong(format!("has {} frames a second; give 0.1 to 1000", exchange.fps)));
        }
        if exchange.frames.is_empty() {
            return Err(wrong("has no frame; export at least one".into()));
        }
        let key = |(i, frame): (usize, &Frame)| {
            let [a, b, c, last] = frame.matrix;
            let column = |i: usize| Vec3::new(a[i], b[i], c[i]);
            // A camera that was scaled in its scene sees the same.
            let turn = Mat3::from_cols(column(0).normalize(), column(1).normalize(), column(2).normalize());
            let off = (turn.transpose() * turn - Mat3::IDENTITY).to_cols_array().into_iter().fold(0.0, |off: f32, v| off.max(v.abs()));
            // NaN is not within the tolerance.
            if !(off <= RIGID && turn.determinant() > 0.0 && last == [0.0, 0.0, 0.0, 1.0]) {
                return Err(wrong(format!("frames[{i}].matrix is no place and rotation; export the camera without shear or mirror")));
            }
            let rotation = if turn == Mat3::IDENTITY { Quat::IDENTITY } else { Quat::from_mat3(&turn).normalize() };
            let fov_deg = Some(frame.fov_deg).filter(|fov_deg| (fov_deg - self.fov_deg).abs() > 1e-4);
            Ok(CameraKey { frame: frame.frame / exchange.fps * 16.0, position: column(3), rotation, fov_deg, curve: Curve::Linear })
        };
        let keys = exchange.frames.iter().enumerate().map(key).collect::<Result<_>>()?;
        let path = Self { keys, look_at: None, handheld: None, ..self.clone() };
        path.validate("camera file", picture)?;
        Ok(path)
    }

    /// Writes [`CameraPath::to_json`] to a file, which appears only when whole.
    ///
    /// # Errors
    /// Names the file when it cannot be written.
    pub fn export(&self, file: &Path, picture: (usize, usize), frames: usize) -> Result<()> {
        let text = self.to_json(picture, frames)?;
        write_atomic(file, |out| out.write_all(text.as_bytes()))
    }

    /// [`CameraPath::from_json`] of a file.
    ///
    /// # Errors
    /// Names the file: unreadable, too large, not understood.
    pub fn import(&self, file: &Path, picture: (usize, usize)) -> Result<Self> {
        let unreadable = |e: std::io::Error| Error::file(file, format!("cannot be read ({e}); check the path"));
        let metadata = std::fs::metadata(file).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(Error::file(file, "is no file of less than 64 MiB; name a camera path (JSON)"));
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        self.from_json(&text, picture).map_err(|e| match e {
            Error::Field { field, what } => Error::file(file, format!("{field}: {what}")),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::depth::DepthSource;

    const PICTURE: (usize, usize) = (640, 400);

    fn path() -> CameraPath {
        let mut path = CameraPath::new(DepthSource::guess(PICTURE));
        path.keys = vec![CameraKey::at_rest(0.0), CameraKey { fov_deg: Some(35.0), ..CameraKey::at_rest(20.0) }];
        path.keys[1].position = Vec3::new(0.5, -0.2, 1.0);
        path.keys[1].rotation = Quat::from_euler(glam::EulerRot::YXZ, 0.3, -0.1, 0.2);
        path
    }

    #[test]
    fn what_was_written_comes_back() {
        let (path, folder) = (path(), tempfile::tempdir().unwrap());
        let file = folder.path().join("camera.json");
        path.export(&file, PICTURE, 21).unwrap();
        let again = path.import(&file, PICTURE).unwrap();
        assert_eq!(again.keys.len(), 21);
        assert_eq!(again.camera(PICTURE, 0.0), path.camera(PICTURE, 0.0), "at rest stays at rest");
        for frame in 0..=20 {
            let (a, b) = (path.camera(PICTURE, frame as f32), again.camera(PICTURE, frame as f32));
            assert!(a.position.distance(b.position) < 1e-5 && a.rotation.angle_between(b.rotation) < 2e-3, "{frame}");
            assert!((a.lens.focal_px / b.lens.focal_px - 1.0).abs() < 1e-4);
        }
        assert!(path.import(&folder.path().join("none"), PICTURE).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn files_that_cannot_be_used_are_told() {
        let good: serde_json::Value = serde_json::from_str(&path().to_json(PICTURE, 2).unwrap()).unwrap();
        let refused = |place: &str, value: serde_json::Value, words: &str| {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            let message = path().from_json(&bad.to_string(), PICTURE).unwrap_err().to_string();
            assert!(message.contains(words) && !message.contains('\n'), "{message}");
        };
        refused("", 3.into(), "is not understood");
        refused("/format", "other".into(), "is `other` version 1");
        refused("/fps", 0.into(), "has 0 frames a second");
        refused("/frames", serde_json::json!([]), "has no frame");
        refused("/frames/0/fov_deg", 180.into(), "keys[0].fov_deg: is 180");
        refused("/frames/1/frame", 0.into(), "where the key before is too");
        refused("/frames/1/matrix/0/3", 7e9.into(), "keys[1].position: is (7000000000");
        refused("/frames/0/matrix/0/0", (-1.0).into(), "frames[0].matrix is no place and rotation");
        refused("/frames/0/matrix/0/1", 0.5.into(), "frames[0].matrix is no place and rotation");
        refused("/frames/0/matrix/1", serde_json::json!([0, 0, 0, 0]), "frames[0].matrix is no place and rotation");
    }

    #[test]
    fn the_blender_script_converts_there_and_back() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/blender/kinebrush_camera.py");
        let Ok(run) = std::process::Command::new("python3").arg("-B").arg(&script).arg("--self-test").output() else {
            println!("python3 is not there: the Blender script was not tried");
            return;
        };
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        assert!(String::from_utf8_lossy(&run.stdout).contains("self-test passed"));
    }
}
