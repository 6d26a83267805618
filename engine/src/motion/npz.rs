//! Tracks as NumPy archives: `tracks` f32 (frames, points, 2) in px (x, y) and `visibility` (frames, points).
//!
//! Invariant: nothing is allocated by a number that a header states; what a file claims must fit into what it holds. A file that was
//! read holds finite places only. Guarded by the tests below.

use std::io::{Cursor, Read};
use std::path::Path;

use glam::Vec2;
use npyz::npz::{NpzArchive, NpzWriter};
use npyz::{DType, NpyHeader, Order, WriterBuilder};

use super::track_field::{MAX_POINTS, PointState, TrackField, TrackFrame};
use crate::media::atomic::write_atomic;
use crate::picture::Mask;
use crate::{Error, Result};

/// Most places of one file (frames times points): 8 hours of sparse tracks, or 500 MB.
const MAX_PLACES: u64 = 1 << 26;
/// A place farther from the corner than this is a broken file, px.
const FARTHEST: f32 = 1e6;
/// Deflate cannot pack denser than this.
const MAX_RATIO: u64 = 1032;
/// A header longer than this is not one of ours.
const MAX_HEADER: usize = 4096;

/// Points over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracks {
    /// Number of points; every frame has as many.
    pub points: usize,
    /// The frames, oldest first.
    pub frames: Vec<TrackFrame>,
}

impl Tracks {
    /// The frames that `field` still keeps. A point that was added later is at its source, not visible, in the frames before.
    pub fn from_field(field: &TrackField) -> Self {
        let frames = (field.first_kept()..field.pushed()).filter_map(|i| field.frame(i)).map(|frame| {
            let mut frame = frame.clone();
            frame.positions.extend_from_slice(&field.sources[frame.positions.len()..]);
            frame.visible.resize(field.len(), false);
            frame
        });
        Self { points: field.len(), frames: frames.collect() }
    }

    /// A field whose points follow these tracks, all on the plate and driven, keeping at most `capacity` frames.
    ///
    /// # Errors
    /// More points than a field takes.
    pub fn into_field(self, seed: u64, capacity: usize) -> Result<TrackField> {
        if self.points > MAX_POINTS {
            return Err(Error::field("tracks", format!("has {} points; at most {MAX_POINTS} fit, leave some out", self.points)));
        }
        let mut field = TrackField::empty(seed).with_capacity(capacity);
        let sources = self.frames.first().map(|frame| frame.positions.clone()).unwrap_or_default();
        field.seed_points(sources.into_iter().map(|source| (source, 0)));
        for frame in self.frames {
            field.push(frame, vec![PointState::Driven; self.points]);
        }
        Ok(field)
    }

    /// Reads the archive at `path`: `tracks` as f32 or f64, `visibility` as bool, u8, f32 or f64 (more than 0.5 is visible), stored or
    /// deflated.
    ///
    /// # Errors
    /// One line that names the file and the array: missing, of another type or shape, truncated, or holding NaN.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |what: String| Error::file(path, what);
        let mut archive = NpzArchive::open(path).map_err(|e| wrong(format!("cannot be opened as .npz ({e}); save it with numpy.savez")))?;
        let tracks = read_array(&mut archive, "tracks", &["<f4", "<f8"]).map_err(&wrong)?;
        let visibility = read_array(&mut archive, "visibility", &["|b1", "|u1", "<f4", "<f8"]).map_err(&wrong)?;
        let [frames, points, 2] = tracks.shape[..] else {
            return Err(wrong(format!("tracks: its shape is {:?}, it must be (frames, points, 2)", tracks.shape)));
        };
        if visibility.shape != [frames, points] {
            let what = format!("visibility: its shape is {:?}, it must be ({frames}, {points}) as in tracks", visibility.shape);
            return Err(wrong(what));
        }
        let at = |i: usize| format!("[{}][{}]", i / points, i % points);
        let mut places = Vec::with_capacity(tracks.values.len() / 2);
        for (i, place) in tracks.values.chunks_exact(2).enumerate() {
            if !place.iter().all(|x| x.abs() <= FARTHEST) {
                let what = "places must be finite and within a million px";
                return Err(wrong(format!("tracks{}: is ({}, {}); {what}", at(i), place[0], place[1])));
            }
            places.push(Vec2::new(place[0], place[1]));
        }
        if let Some(i) = visibility.values.iter().position(|value| !value.is_finite()) {
            return Err(wrong(format!("visibility{}: is {}; it must be a number, 0 is hidden", at(i), visibility.values[i])));
        }
        let frames = (0..frames).map(|frame| {
            let range = frame * points..(frame + 1) * points;
            let visible = visibility.values[range.clone()].iter().map(|value| *value > 0.5).collect();
            TrackFrame { positions: places[range].to_vec(), visible }
        });
        Ok(Self { points, frames: frames.collect() })
    }

    /// Writes the archive to `path`, deflated; `visibility` as bool. The file appears only when whole, and the same tracks give the
    /// same bytes.
    ///
    /// # Errors
    /// Names `path` when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.packed().map_err(|e| Error::file(&path, format!("cannot be written ({e})")))?;
        write_atomic(path.as_ref(), |out| out.write_all(&bytes))
    }

    fn packed(&self) -> std::io::Result<Vec<u8>> {
        /// A value of the type that the function given takes: the archive's options, whose crate we do not depend on ourselves.
        fn argument_of<T: Default>(_: impl Fn(&mut Archive, T)) -> T {
            T::default()
        }
        type Archive<'a> = NpzWriter<Cursor<&'a mut Vec<u8>>>;
        let mut bytes = Vec::new();
        // The default stamp is the clock's, which would make two exports of the same tracks differ.
        let options = argument_of(|archive, options| drop(archive.array::<f32>("", options))).last_modified_time(Default::default());
        let shape = [self.frames.len() as u64, self.points as u64, 2];
        let mut archive = Archive::new(Cursor::new(&mut bytes));
        let mut tracks = archive.array("tracks", options)?.default_dtype().shape(&shape).begin_nd()?;
        tracks.extend(self.frames.iter().flat_map(|frame| &frame.positions).flat_map(|p| [p.x, p.y]))?;
        tracks.finish()?;
        let mut visibility = archive.array("visibility", options)?.default_dtype().shape(&shape[..2]).begin_nd()?;
        visibility.extend(self.frames.iter().flat_map(|frame| frame.visible.iter().copied()))?;
        visibility.finish()?;
        archive.zip_writer().finish()?;
        drop(archive);
        Ok(bytes)
    }
}

/// The first array of the archive at `path` that is a plane of f32 or f64, as (rows, columns); it may hold NaN.
///
/// # Errors
/// One line that names the file: no archive, no such array, truncated.
pub(crate) fn read_plane(path: &Path) -> Result<Mask> {
    let wrong = |what: String| Error::file(path, what);
    let mut archive = NpzArchive::open(path).map_err(|e| wrong(format!("cannot be opened as .npz ({e}); save it with numpy.savez")))?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut reason = "it holds no array".to_owned();
    for name in names {
        match read_array(&mut archive, &name, &["<f4", "<f8"]) {
            Ok(Array { shape, values }) => match shape[..] {
                [height, width] if height * width > 0 => return Ok(Mask { width, height, data: values }),
                _ => reason = format!("{name}: its shape is {shape:?}, it must be (rows, columns)"),
            },
            Err(what) => reason = what,
        }
    }
    Err(wrong(format!("holds no plane of f32 or f64 numbers ({reason}); save it with numpy.savez")))
}

/// An array as f32, C order.
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Reads one array of one of the `types`; the message of an error begins with its name.
fn read_array<R: Read + std::io::Seek>(archive: &mut NpzArchive<R>, name: &str, types: &[&str]) -> Result<Array, String> {
    if !archive.array_names().any(|array| array == name) {
        return Err(format!("{name}: is missing; the archive needs the arrays tracks and visibility"));
    }
    let mut entry = archive.zip_archive().by_name(&format!("{name}.npy")).map_err(|e| format!("{name}: cannot be unpacked ({e})"))?;
    let packed = entry.compressed_size();
    let header = read_header(&mut entry).map_err(|what| format!("{name}: {what}"))?;
    let DType::Plain(kind) = header.dtype() else {
        return Err(format!("{name}: holds records; it must hold {}", types.join(" or ")));
    };
    let kind = kind.to_string();
    if !types.contains(&kind.as_str()) {
        return Err(format!("{name}: its type is {kind}; it must be {}", types.join(" or ")));
    }
    if header.order() != Order::C && header.shape().len() > 1 {
        return Err(format!("{name}: is in Fortran order; save numpy.ascontiguousarray of it"));
    }
    let width = u64::from(kind.as_bytes()[2] - b'0');
    let count = header.shape().iter().try_fold(1_u64, |count, n| count.checked_mul(*n)).filter(|count| *count <= 2 * MAX_PLACES);
    let count = count.ok_or_else(|| format!("{name}: its shape is {:?}, too large; at most {MAX_PLACES} places fit", header.shape()))?;
    let needed = count * width;
    if needed > packed.saturating_mul(MAX_RATIO) {
        return Err(format!("{name}: its header promises {needed} bytes, but the file is truncated"));
    }
    // Grows with what is really there.
    let mut bytes = Vec::new();
    entry.take(needed + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: cannot be unpacked ({e}); the file is damaged"))?;
    if bytes.len() as u64 != needed {
        return Err(format!(
            "{name}: its header promises {needed} bytes, but the file holds {}",
            if bytes.len() as u64 > needed { "more".to_owned() } else { bytes.len().to_string() }
        ));
    }
    let values = match width {
        1 => bytes.iter().map(|byte| f32::from(*byte)).collect(),
        4 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        _ => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
    };
    let shape = header.shape().iter().map(|n| *n as usize).collect();
    Ok(Array { shape, values })
}

/// Reads a `.npy` header after checking that it is one that can be parsed safely: short, flat, and without numbers whose product
/// overflows.
fn read_header(entry: &mut impl Read) -> Result<NpyHeader, String> {
    let broken = |what: &str| format!("its header is broken ({what}); save it with numpy.savez");
    let mut bytes = vec![0; 10];
    entry.read_exact(&mut bytes).map_err(|_| broken("too short"))?;
    let mut length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    if bytes[6] > 1 {
        let mut high = [0; 2];
        entry.read_exact(&mut high).map_err(|_| broken("too short"))?;
        length += usize::from(u16::from_le_bytes(high)) << 16;
        bytes.extend(high);
    }
    if length > MAX_HEADER {
        return Err(broken("too long"));
    }
    let start = bytes.len();
    bytes.resize(start + length, 0);
    entry.read_exact(&mut bytes[start..]).map_err(|_| broken("too short"))?;
    let count = |test: fn(&u8) -> bool| bytes[start..].iter().filter(|byte| test(byte)).count();
    // One dictionary with one tuple. The parser recurses over brackets, and multiplies the sizes without a check: up to 19 digits fit.
    if count(|byte| b"([{".contains(byte)) > 8 || count(u8::is_ascii_digit) > 19 {
        return Err(broken("more numbers or brackets than an array of tracks has"));
    }
    NpyHeader::from_reader(&bytes[..]).map_err(|e| broken(&e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn tracks() -> Tracks {
        let frame = |t: usize| TrackFrame {
            positions: (0..7).map(|i| Vec2::new(i as f32 * 1.25 + t as f32, -0.5 * i as f32)).collect(),
            visible: (0..7).map(|i| !(i + t).is_multiple_of(3)).collect(),
        };
        Tracks { points: 7, frames: (0..5).map(frame).collect() }
    }

    /// A `.npy` file with a header as numpy writes it.
    fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16 + 1).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.push(b'\n');
        bytes.extend(data);
        bytes
    }

    /// A zip archive of stored entries, as `numpy.savez` writes it.
    fn stored(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in entries {
            let crc = !data.iter().fold(!0_u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
            });
            let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 33, 0];
            common.extend(crc.to_le_bytes());
            common.extend([data.len() as u32; 2].map(u32::to_le_bytes).concat());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0, 0]);
            directory.extend([b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 10]].concat());
            directory.extend((bytes.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            bytes.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), data].concat());
        }
        let (at, count) = (bytes.len() as u32, entries.len() as u16);
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([count, count].map(u16::to_le_bytes).concat());
        bytes.extend([directory.len() as u32, at].map(u32::to_le_bytes).concat());
        bytes.extend([0, 0]);
        bytes
    }

    fn load(bytes: &[u8]) -> Result<Tracks> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npz");
        std::fs::write(&path, bytes).unwrap();
        Tracks::load(path)
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn round_trip_gives_the_same_tracks_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npz");
        tracks().save(&path).unwrap();
        assert_eq!(Tracks::load(&path).unwrap(), tracks());
        let first = std::fs::read(&path).unwrap();
        tracks().save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert!(tracks().save(folder.path().join("none/t.npz")).unwrap_err().to_string().contains("t.npz: cannot be written"));
    }

    #[test]
    fn every_accepted_type_reads_the_same() {
        let places = [1.0, 2.0, 3.5, -4.0_f32];
        let doubles: Vec<u8> = places.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
        let expected = TrackFrame { positions: vec![Vec2::new(1.0, 2.0), Vec2::new(3.5, -4.0)], visible: vec![true, false] };
        for (kind, data) in [("<f4", floats(&places)), ("<f8", doubles)] {
            for (visible, bits) in [("|b1", vec![1, 0]), ("|u1", vec![255, 0]), ("<f4", floats(&[0.9, 0.2]))] {
                let entries = [("tracks.npy", npy(kind, "(1, 2, 2)", &data)), ("visibility.npy", npy(visible, "(1, 2)", &bits))];
                assert_eq!(load(&stored(&entries)).unwrap().frames, std::slice::from_ref(&expected), "{kind} {visible}");
            }
        }
    }

    #[test]
    fn bad_files_are_told_in_one_line() {
        let good = || npy("<f4", "(1, 1, 2)", &floats(&[1.0, 2.0]));
        let seen = || npy("|b1", "(1, 1)", &[1]);
        let deep = npy("<f4", &"(".repeat(3000), &[]);
        let mut long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec();
        long.extend([b' '; 64]);
        let cases = [
            (good(), npy("|b1", "(1, 2)", &[1, 1]), "visibility: its shape is [1, 2]"),
            (npy("<f4", "(1, 2)", &floats(&[1.0, 2.0])), seen(), "tracks: its shape is [1, 2]"),
            (npy("<f4", "(1, 1, 3)", &floats(&[1.0; 3])), seen(), "tracks: its shape is [1, 1, 3]"),
            (npy("<i4", "(1, 1, 2)", &[0; 8]), seen(), "tracks: its type is <i4"),
            (npy(">f4", "(1, 1, 2)", &[0; 8]), seen(), "tracks: its type is >f4"),
            (good(), npy("<i8", "(1, 1)", &[0; 8]), "visibility: its type is <i8"),
            (npy("<f4", "(1, 1, 2)", &floats(&[1.0, f32::NAN])), seen(), "tracks[0][0]: is (1, NaN)"),
            (npy("<f4", "(1, 1, 2)", &floats(&[f32::INFINITY, 0.0])), seen(), "tracks[0][0]: is (inf, 0)"),
            (good(), npy("<f4", "(1, 1)", &floats(&[f32::NAN])), "visibility[0][0]: is NaN"),
            (npy("<f4", "(1, 1, 2)", &floats(&[1.0])), seen(), "tracks: its header promises 8 bytes, but the file holds 4"),
            (npy("<f4", "(1, 1, 2)", &floats(&[1.0; 3])), seen(), "tracks: its header promises 8 bytes, but the file holds more"),
            (npy("<f4", "(1000, 10000, 2)", &floats(&[1.0, 2.0])), seen(), "tracks: its header promises 80000000 bytes"),
            (npy("<f4", "(99999999, 999999, 2)", &[]), seen(), "tracks: its shape is [99999999, 999999, 2], too large"),
            (npy("<f4", "(9999999999, 9999999999, 9999999999)", &[]), seen(), "tracks: its header is broken (more numbers"),
            (deep, seen(), "tracks: its header is broken (more numbers or brackets"),
            (long, seen(), "tracks: its header is broken (too long"),
            (b"\x93NUMPY".to_vec(), seen(), "tracks: its header is broken (too short"),
            (b"not numpy at all".to_vec(), seen(), "tracks: its header is broken"),
        ];
        for (tracks, visibility, words) in cases {
            let message = load(&stored(&[("tracks.npy", tracks), ("visibility.npy", visibility)])).unwrap_err().to_string();
            assert!(message.contains(&format!("t.npz: {words}")) && !message.contains('\n'), "{message}");
        }
        assert!(load(&stored(&[("tracks.npy", good())])).unwrap_err().to_string().contains("visibility: is missing"));
        assert!(load(b"PK but no zip").unwrap_err().to_string().contains("cannot be opened as .npz"));
    }

    #[test]
    fn any_cut_or_flipped_byte_is_an_error_or_the_same_shape_but_never_a_panic() {
        let whole = tracks().packed().unwrap();
        for length in 0..whole.len() {
            assert!(load(&whole[..length]).is_err(), "cut at {length}");
        }
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 0x55;
            if let Ok(read) = load(&bytes) {
                assert_eq!((read.points, read.frames.len()), (7, 5), "byte {i}");
            }
        }
    }

    #[test]
    fn the_first_plane_of_an_archive_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.npz");
        let line = || npy("<f4", "(2,)", &floats(&[1.0, 2.0]));
        std::fs::write(&path, stored(&[("a.npy", line()), ("b.npy", npy("<f4", "(2, 1)", &floats(&[3.0, f32::NAN])))])).unwrap();
        let plane = read_plane(&path).unwrap();
        assert!((plane.width, plane.height) == (1, 2) && plane.data[0] == 3.0 && plane.data[1].is_nan());
        std::fs::write(&path, stored(&[("a.npy", line())])).unwrap();
        assert!(read_plane(&path).unwrap_err().to_string().contains("holds no plane of f32 or f64 numbers (a: its shape is [2]"));
        std::fs::write(&path, stored(&[("a.npy", npy("<f4", "(0, 5)", &[]))])).unwrap();
        assert!(read_plane(&path).is_err());
    }

    #[test]
    fn fields_and_tracks_turn_into_each_other() {
        let mut field = tracks().into_field(1, 3).unwrap();
        assert_eq!((field.len(), field.pushed(), field.first_kept()), (7, 5, 2));
        assert_eq!(Tracks::from_field(&field).frames[..], tracks().frames[2..]);
        field.seed_points([(Vec2::splat(9.0), 0)]);
        let padded = Tracks::from_field(&field);
        assert_eq!((padded.points, padded.frames[0].positions[7], padded.frames[0].visible[7]), (8, Vec2::splat(9.0), false));
    }
}
