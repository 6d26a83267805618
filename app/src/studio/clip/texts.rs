//! Every text of the clip panel. Invariant: its other files hold no visible text beyond numbers with their units. Guarded by review.

pub const TITLE: &str = "Clip";
pub const OPEN: &str = "Open a clip…";
pub const OPEN_TIP: &str = "A video, a GIF, or one of a numbered run of pictures; or drop it on the window";
pub const OPENING: &str = "Opening…";
pub const NONE_YET: &str = "Let a film move your picture: open a clip, track it, and its motion is laid over the picture.";
/// A clip without a picture.
pub const NO_PICTURE: &str = "Open a picture first, then drop the clip on it";
pub const PICTURE: &str = "Clip picture";
pub const TIME: &str = "Clip time";
pub const PLAY: &str = "Play clip";
pub const PAUSE: &str = "Pause clip";
pub const BACK: &str = "Clip: one frame back";
pub const ON: &str = "Clip: one frame on";
pub const TOGETHER: &str = "With the picture";
pub const TOGETHER_TIP: &str = "Clip and picture show the same moment";
pub const TRACK: &str = "Track";
pub const TRACK_TIP: &str = "Follow points through the whole clip; kept beside it";
pub const CANCEL: &str = "Stop tracking";
pub const USE: &str = "Move the picture with it";
pub const USED: &str = "Move with clip";
pub const REMOVE: &str = "Remove from picture";
pub const DRIVES: &str = "Drives";
pub const WHOLE: &str = "Whole picture";
pub const MARKED: &str = "Marked region";
pub const SELECTED: &str = "Selected motion's region";
pub const OWN: &str = "Its own region";
pub const FIRST: &str = "First clip frame";
pub const LAST: &str = "Last clip frame";
pub const SET_FIRST: &str = "From here";
pub const SET_LAST: &str = "To here";
pub const START: &str = "Begins at";
pub const SPEED: &str = "Clip speed";
pub const REPEAT: &str = "Repeat";
pub const ONCE: &str = "Once";
pub const LOOP: &str = "In a loop";
pub const PING_PONG: &str = "Back and forth";
pub const STRENGTH: &str = "Strength";
pub const SMOOTHING: &str = "Smoothing";
pub const CAMERA: &str = "Remove the clip's camera";
pub const CAMERA_TIP: &str = "Takes out how the camera of the clip moved; what moved before it stays";
pub const TIMING: &str = "Time";
pub const PLACING: &str = "Place on the picture";
pub const X: &str = "Right";
pub const Y: &str = "Down";
pub const SCALE: &str = "Size";
pub const TURN: &str = "Turn";
pub const MIRROR: &str = "Mirror";
pub const PLACE: &str = "Place by hand";
pub const PLACE_TIP: &str = "Drag the frame on the picture; its corners size and turn it";
pub const PAIR: &str = "Pair places";
pub const PAIR_TIP: &str = "Click a place of the clip, then where it lies on the picture; up to four";
pub const PAIR_FIRST: &str = "Click a place in the clip";
pub const PAIR_THEN: &str = "Now click where it lies on the picture";
pub const NO_PAIRS: &str = "Forget pairs";
pub const TRACKS: &str = "Tracks";
pub const HIDE: &str = "Hide tracks";
pub const HIDE_TIP: &str = "Click a track, or draw a box around several, in the clip";
pub const SHOW_ALL: &str = "Show all tracks";
pub const PICK: &str = "Use as a path";
pub const PICK_TIP: &str = "Click a track in the clip: its way becomes a path on the picture";
pub const FASTEST: &str = "Fastest as a path";
pub const FASTEST_TIP: &str = "What moves fastest, a hand for example, draws a path on the picture";
pub const NOTHING_MOVES: &str = "Nothing in this clip moves fast enough to draw a path";
pub const ON_PICTURE: &str = "Clip on the picture";
/// What the file window calls clips.
pub const FILTER: &str = "Clips";

/// How far tracking has come.
pub fn tracking(frames: usize, of: usize) -> String {
    format!("Tracking: frame {frames} of {of}")
}

/// What was tracked.
pub fn tracked(points: usize, frames: usize, cut: Option<usize>) -> String {
    let cut = cut.map_or(String::new(), |frame| format!(". The clip cuts at frame {frame}; tracks end there"));
    format!("{points} tracks, {frames} frames{cut}")
}
