//! Pictures from PNG, JPEG and WebP files, PNG out.
//!
//! Invariant: the format is told by the content, not the name; the size is judged by the header before a pixel is decoded;
//! a photograph stands as its EXIF orientation says; whatever is no whole picture is one clear line. Guarded by the tests below.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;

use super::atomic::write_atomic;
use crate::picture::{Grid, Mask, Picture};
use crate::{Error, Result};

/// Larger pictures are refused: in f32 this one takes 1.2 GB.
const MAX_PIXELS: u64 = 100_000_000;
/// A picture of [`MAX_PIXELS`] in 16-bit RGBA is smaller than this even uncompressed.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The picture in a PNG, JPEG or WebP file, upright, transparent parts over white. Colours are taken as sRGB (embedded colour
/// profiles are not applied); of an animation, the first frame. Fails with one line if the file is missing, no such picture,
/// cut short, or larger than 100 megapixels.
pub fn load_picture(path: &Path) -> Result<Picture> {
    Ok(match decode(path)? {
        DynamicImage::ImageRgb8(image) => {
            grid(image.width(), image.height(), image.as_raw(), |rgb: [u8; 3]| rgb.map(|c| f32::from(c) / 255.0))
        }
        image if !image.color().has_alpha() => {
            let image = image.into_rgb32f();
            grid(image.width(), image.height(), image.as_raw(), |rgb| rgb)
        }
        image => {
            let image = image.into_rgba32f();
            grid(image.width(), image.height(), image.as_raw(), |[r, g, b, a]: [f32; 4]| [r, g, b].map(|c| c * a + (1.0 - a)))
        }
    })
}

/// Like [`load_picture`], with transparency as the fourth channel, 0..1; colours are not multiplied by it.
pub fn load_rgba(path: &Path) -> Result<Grid<[f32; 4]>> {
    let image = decode(path)?.into_rgba32f();
    Ok(grid(image.width(), image.height(), image.as_raw(), |rgba| rgba))
}

/// The mask in a picture file, 0..1: its transparency where it has any (a cut-out), else its grey level (white is inside).
pub fn load_mask(path: &Path) -> Result<Mask> {
    let rgba = load_rgba(path)?;
    let is_cut_out = rgba.data.par_iter().any(|p| p[3] < 1.0);
    let level = |p: &[f32; 4]| if is_cut_out { p[3] } else { 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2] };
    Ok(Mask { width: rgba.width, height: rgba.height, data: rgba.data.par_iter().map(level).collect() })
}

/// Writes `picture` as an 8-bit RGB PNG; the file appears only when it is whole.
pub fn save_png(picture: &Picture, path: &Path) -> Result<()> {
    let (width, height) = (u32::try_from(picture.width), u32::try_from(picture.height));
    let (Ok(width @ 1..), Ok(height @ 1..)) = (width, height) else {
        return Err(Error::file(path, format_args!("a picture of {}x{} cannot be a PNG", picture.width, picture.height)));
    };
    // In memory first: the encoder would bury the reason of a failed write in its own error.
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&rgb8(picture), width, height, ExtendedColorType::Rgb8)
        .map_err(|error| Error::file(path, format_args!("cannot be written as PNG ({error})")))?;
    write_atomic(path, |writer| writer.write_all(&png))
}

/// Writes `mask` (0..1) as a 16-bit grey PNG; the file appears only when it is whole.
pub fn save_grey16(mask: &Mask, path: &Path) -> Result<()> {
    let (width, height) = (u32::try_from(mask.width), u32::try_from(mask.height));
    let (Ok(width @ 1..), Ok(height @ 1..)) = (width, height) else {
        return Err(Error::file(path, format_args!("a picture of {}x{} cannot be a PNG", mask.width, mask.height)));
    };
    // The encoder takes numbers in the machine's own order of bytes.
    let bytes: Vec<u8> = mask.data.iter().flat_map(|v| ((v * 65535.0 + 0.5) as u16).to_ne_bytes()).collect();
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&bytes, width, height, ExtendedColorType::L16)
        .map_err(|error| Error::file(path, format_args!("cannot be written as PNG ({error})")))?;
    write_atomic(path, |writer| writer.write_all(&png))
}

/// The picture's samples rounded to 8 bits, RGB, row-major; clamped to 0..1, NaN is 0.
pub fn rgb8(picture: &Picture) -> Vec<u8> {
    let mut bytes = vec![0; picture.data.len() * 3];
    bytes.par_chunks_mut(3 * 4096).zip(picture.data.par_chunks(4096)).for_each(|(bytes, pixels)| {
        bytes.iter_mut().zip(pixels.as_flattened()).for_each(|(byte, sample)| *byte = (sample * 255.0 + 0.5) as u8);
    });
    bytes
}

/// A grid of `width` x `height` made from interleaved samples of `N` channels.
fn grid<S: Copy + Sync, const N: usize, T: Send>(width: u32, height: u32, samples: &[S], pixel: impl Fn([S; N]) -> T + Sync) -> Grid<T> {
    let data = samples.as_chunks::<N>().0.par_iter().map(|samples| pixel(*samples)).collect();
    Grid { width: width as usize, height: height as usize, data }
}

/// Decodes the file and turns it upright.
pub(crate) fn decode(path: &Path) -> Result<DynamicImage> {
    let metadata = path.metadata().map_err(|error| cannot_read(path, &error))?;
    // Opening a pipe or a device could wait for ever.
    if !metadata.is_file() {
        return Err(Error::file(path, "is not a file; give a PNG, JPEG or WebP picture"));
    }
    if metadata.len() == 0 {
        return Err(Error::file(path, "is empty; give a PNG, JPEG or WebP picture"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(Error::file(path, "is larger than 1 GiB; save the picture smaller"));
    }
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|error| cannot_read(path, &error))?;
    let format = match reader.format() {
        Some(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => format,
        _ => return Err(Error::file(path, "is no picture that Kinebrush reads; save it as PNG, JPEG or WebP")),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 12);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| cannot_decode(path, error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        let megapixels = pixels.div_ceil(1_000_000);
        let what = format_args!("is {width}x{height} ({megapixels} megapixels); save it with 1 pixel to 100 megapixels");
        return Err(Error::file(path, what));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_whole(path).map_err(|error| cannot_read(path, &error))? {
        return Err(Error::file(path, "is cut short: the JPEG has no end; copy or save the picture again"));
    }
    // A picture whose EXIF block is broken is still a picture.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| cannot_decode(path, error))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether an end marker follows the picture data. The decoder fills what is missing with grey without a word. The search
/// begins at the first scan, because the thumbnail in an EXIF block has an end marker of its own.
fn jpeg_is_whole(path: &Path) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    const START_OF_SCAN: u8 = 0xDA;
    let mut at = 2;
    while let Some([0xFF, marker]) = bytes.get(at..at + 2) {
        match (*marker, bytes.get(at + 2..at + 4)) {
            (START_OF_SCAN, _) => break,
            // Padding, restart and other markers without a body.
            (0xFF, _) => at += 1,
            (0x01 | 0xD0..=0xD8, _) => at += 2,
            (_, Some(length)) => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
            (_, None) => return Ok(false),
        }
    }
    Ok(bytes.get(at..).is_some_and(|scans| scans.windows(2).any(|pair| pair == [0xFF, 0xD9])))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::file(path, "does not exist; check the path of the picture"),
        std::io::ErrorKind::PermissionDenied => Error::file(path, "may not be read; change its permissions"),
        _ => Error::file(path, format_args!("cannot be read ({error}); check the path of the picture")),
    }
}

fn cannot_decode(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => Error::file(path, "needs too much memory to decode; save the picture smaller"),
        ImageError::Unsupported(error) => Error::file(path, format_args!("is of a kind not supported ({error}); save it as 8-bit PNG")),
        // The decoders' messages may span lines; the user gets one.
        error => {
            let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            Error::file(path, format_args!("is damaged or cut short ({why}); copy or save the picture again"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use image::{Rgb, RgbImage, Rgba, RgbaImage};
    use std::fs;
    use std::path::PathBuf;

    fn asset(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pictures").join(name)
    }

    fn message<T>(result: Result<T>) -> String {
        let message = result.err().expect("must be refused").to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn the_three_formats_load_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let source = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8 * 6, y as u8 * 8, 90]));
        for (format, name, tolerance) in
            [(ImageFormat::Png, "a.jpg", 0.0), (ImageFormat::WebP, "b.png", 0.0), (ImageFormat::Jpeg, "c", 0.06)]
        {
            let path = folder.path().join(name);
            source.save_with_format(&path, format).unwrap();
            let picture = load_picture(&path).unwrap();
            assert_eq!((picture.width, picture.height), (40, 30));
            let (rgb, truth) = (picture.at(30, 20), [180.0 / 255.0, 160.0 / 255.0, 90.0 / 255.0]);
            assert!((0..3).all(|c| (rgb[c] - truth[c]).abs() <= tolerance), "{format:?}: {rgb:?}");
        }
    }

    #[test]
    fn saved_pictures_come_back_and_16_bits_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let picture = Picture::from_fn(70, 130, |x, y| [x as f32, y as f32, (x * y % 256) as f32].map(|c| c / 255.0));
        save_png(&picture, &path).unwrap();
        assert_eq!(load_picture(&path).unwrap(), picture);
        assert_eq!(rgb8(&Picture { width: 1, height: 1, data: vec![[-0.1, f32::NAN, 1.7]] }), [0, 0, 255]);
        let deep = image::ImageBuffer::<Rgb<u16>, _>::from_pixel(3, 2, Rgb([30_001, 0, 65_535]));
        deep.save(&path).unwrap();
        assert!((load_picture(&path).unwrap().at(2, 1)[0] - 30_001.0 / 65_535.0).abs() < 1e-6);
    }

    #[test]
    fn transparency_goes_over_white_into_rgba_and_into_the_mask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut-out.png");
        RgbaImage::from_fn(4, 2, |x, _| Rgba([255, 0, 0, [0, 51, 255, 255][x as usize]])).save(&path).unwrap();
        let picture = load_picture(&path).unwrap();
        assert_eq!((picture.at(0, 0), picture.at(2, 1)), ([1.0; 3], [1.0, 0.0, 0.0]));
        assert!((picture.at(1, 0)[1] - 0.8).abs() < 1e-6);
        assert_eq!(load_rgba(&path).unwrap().at(1, 0), [1.0, 0.0, 0.0, 0.2]);
        assert_eq!(load_mask(&path).unwrap().data[..4], [0.0, 0.2, 1.0, 1.0]);
        // Without transparency the grey level decides.
        image::GrayImage::from_fn(2, 1, |x, _| image::Luma([x as u8 * 255])).save(&path).unwrap();
        let mask = load_mask(&path).unwrap();
        assert!(mask.at(0, 0) == 0.0 && (mask.at(1, 0) - 1.0).abs() < 1e-6);
    }

    /// A JPEG with an EXIF block that holds nothing but `orientation`.
    fn jpeg_with_orientation(image: &RgbImage, orientation: u8) -> Vec<u8> {
        let mut jpeg = std::io::Cursor::new(Vec::new());
        image.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let mut exif = b"\xFF\xE1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = jpeg.into_inner();
        bytes.splice(2..2, exif);
        bytes
    }

    #[test]
    fn photographs_stand_as_exif_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        // Stored lying, the left half bright.
        let lying = RgbImage::from_fn(64, 32, |x, _| Rgb([if x < 32 { 230 } else { 20 }; 3]));
        fs::write(&path, jpeg_with_orientation(&lying, 6)).unwrap();
        let upright = load_picture(&path).unwrap();
        assert_eq!((upright.width, upright.height), (32, 64));
        assert!(upright.at(16, 8)[0] > 0.8 && upright.at(16, 56)[0] < 0.2, "6 = turned a quarter clockwise");
        fs::write(&path, jpeg_with_orientation(&lying, 1)).unwrap();
        assert_eq!(load_picture(&path).unwrap().width, 64);
        fs::write(&path, jpeg_with_orientation(&lying, 77)).unwrap();
        assert_eq!(load_picture(&path).unwrap().width, 64, "nonsense is ignored");
    }

    #[test]
    fn every_way_of_cutting_a_picture_short_is_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut");
        let webp = folder.path().join("a.webp");
        RgbImage::from_fn(90, 70, |x, y| Rgb([(x * y) as u8, x as u8, y as u8])).save(&webp).unwrap();
        let small = RgbImage::from_fn(64, 32, |x, y| Rgb([(x * y) as u8; 3]));
        let exif = folder.path().join("exif.jpg");
        fs::write(&exif, jpeg_with_orientation(&small, 6)).unwrap();
        for source in [asset("cat.png"), asset("rocket.jpg"), webp, exif] {
            let bytes = fs::read(&source).unwrap();
            for part in (1..40).map(|i| bytes.len() * i / 40).chain([1, 2, 3, 12, 30]) {
                fs::write(&path, &bytes[..part]).unwrap();
                let message = message(load_picture(&path));
                assert!(message.contains("cut") && message.contains("save"), "{} at {part}: {message}", source.display());
            }
        }
    }

    #[test]
    fn damaged_pictures_never_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged");
        let small = RgbImage::from_fn(48, 40, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            small.save_with_format(&path, format).unwrap();
            let whole = fs::read(&path).unwrap();
            for i in 0..300 {
                let mut bytes = whole.clone();
                let at = i * 7919 % whole.len();
                bytes[at] ^= 1 << (i % 8) | 0x11;
                fs::write(&path, bytes).unwrap();
                // Some damage cannot be told from a picture; what matters is an answer, of a sane size.
                if let Ok(picture) = load_picture(&path) {
                    assert_eq!(picture.data.len(), picture.width * picture.height);
                }
            }
        }
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        assert!(message(load_picture(&path)).contains("does not exist"));
        fs::write(&path, "").unwrap();
        assert!(message(load_picture(&path)).contains("is empty"));
        fs::write(&path, "a letter, not a picture").unwrap();
        assert!(message(load_mask(&path)).contains("PNG, JPEG or WebP"));
        fs::write(&path, b"GIF89a\x01\0\x01\0\0\0\0").unwrap();
        assert!(message(load_rgba(&path)).contains("PNG, JPEG or WebP"));
        assert!(message(load_picture(folder.path())).contains("is not a file"));
        #[cfg(target_os = "linux")]
        assert!(message(load_picture(Path::new("/dev/zero"))).contains("is not a file"));
    }

    #[test]
    fn a_header_that_claims_too_many_pixels_is_refused_before_decoding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        RgbImage::new(8, 8).save(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        fs::write(&path, bytes).unwrap();
        let message = message(load_picture(&path));
        assert!(message.contains("32768x32768 (1074 megapixels)") && message.contains("100 megapixels"), "{message}");
        assert!(self::message(save_png(&Picture::filled(0, 3, [0.0; 3]), &path)).contains("0x3"));
    }

    /// The CRC of PNG chunks (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
        })
    }
}
