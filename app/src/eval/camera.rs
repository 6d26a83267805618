//! `kinebrush eval camera`: a real picture seen from where a real camera took another one.

use crate::arguments::EvalCameraOptions;
use kinebrush_engine::guide::stereo::{StereoPair, psnr_db};

pub fn run(options: &EvalCameraOptions) -> anyhow::Result<()> {
    let pair = StereoPair::motorcycle(&options.pair)?;
    let both = pair.seen_by_both(&pair.left_disparity());
    let bilinear = psnr_db(&pair.bilinear_warp(), &pair.right, &both);
    match options.json {
        true => println!("{}", serde_json::json!({ "bilinear_psnr_db": bilinear })),
        false => println!("exact bilinear warp: {bilinear:.2} dB where both pictures show the point"),
    }
    Ok(())
}
