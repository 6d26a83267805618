//! Every text of the camera panel, in one place.
//!
//! Invariant: no other file of this panel holds a visible text, beyond numbers with their units. Guarded by review.

/// Head.
pub const TITLE: &str = "Camera";
pub const MOVE_TAB: &str = "Move";
pub const MOVE_TAB_TIP: &str = "Keys, presets and speed of the camera's way";
pub const DEPTH_TAB: &str = "Depth";
pub const DEPTH_TAB_TIP: &str = "How deep the picture is";
pub const IN_HAND: &str = "On the picture";
pub const IN_HAND_TIP: &str = "The pointer on the picture works for this panel. Take a tool on the left to paint again";
pub const CLOSE: &str = "Close the camera panel";
pub const NEW: &str = "No camera yet. A first guess of the picture's depth is there: move the camera, or fit the depth.";
pub const REMOVE: &str = "Remove camera";
pub const REMOVE_TIP: &str = "The picture is flat again; its depth is forgotten";

/// On the picture.
pub const NAVIGATE: &str = "Drag: orbit   Shift: pan   Wheel: dolly   Alt: roll";
pub const PICK: &str = "Click what the camera shall look at. Esc: not now";
pub const FIT_BACKDROP: &str = "Everything is equally far; set how far in the panel";
pub const FIT_GROUND: &str = "Put the line on the horizon";
pub const FIT_ROOM: &str = "Put the box on the back wall, the dot where its lines meet";
pub const FIT_PAINT: &str = "Paint depth on the picture: the slider says how near";
pub const FIT_FILE: &str = "The depth comes from a file";
pub const HORIZON_LEFT: &str = "Horizon, left end";
pub const HORIZON_RIGHT: &str = "Horizon, right end";
pub const VANISHING: &str = "Vanishing point";
pub const CORNERS: [&str; 4] = ["Back wall, top left", "Back wall, top right", "Back wall, bottom right", "Back wall, bottom left"];

/// 3-D view.
pub const VIEW: &str = "Camera path in space";
pub const VIEW_TIP: &str = "Drag: look from elsewhere   Shift: pan   Wheel: zoom   Double-click: back. Drag a key or an arrow to move it";
pub const KEY: &str = "Camera key";
pub const AT: &str = "at";
pub const AXES: [&str; 3] = ["x", "y", "z"];
pub const AXIS: &str = "Move camera along";

/// Keys.
pub const KEYS: &str = "Keys";
pub const ADD: &str = "Add key";
pub const ADD_TIP: &str = "A key where the camera is at the playhead";
pub const DELETE: &str = "Delete key";
pub const DELETE_TIP: &str = "Take the key at the playhead away";
pub const NO_KEYS: &str = "No keys: the camera stands still. Add one, drag on the picture or take a preset.";
pub const PREVIOUS: &str = "Previous key";
pub const NEXT: &str = "Next key";
pub const POSITION: &str = "Position";
pub const ROTATION: &str = "Rotation";
pub const POSITION_FIELDS: [&str; 3] = ["Camera x", "Camera y", "Camera z"];
pub const ROTATION_FIELDS: [&str; 3] = ["Camera yaw", "Camera pitch", "Camera roll"];
pub const ROTATION_NAMES: [&str; 3] = ["yaw", "pitch", "roll"];
pub const FOV: &str = "Field of view";
pub const FOV_FIELD: &str = "Camera field of view";
pub const FRAME_FIELD: &str = "Frame of the key";
pub const FRAME: &str = "Frame";
pub const ROW_TIP: &str = "Click: go there   Drag: move in time   Delete: take it away";
pub const LANE: &str = "Camera keys in time";

/// Curves.
pub const SPEED: &str = "From this key to the next";
pub const NO_SEGMENT: &str = "Two keys make a way with a speed.";
pub const LINEAR: &str = "Linear";
pub const LINEAR_TIP: &str = "At constant speed";
pub const SMOOTH: &str = "Smooth";
pub const SMOOTH_TIP: &str = "Through the keys without a kink";
pub const HOLD: &str = "Hold";
pub const HOLD_TIP: &str = "Stays, then jumps";
pub const BEZIER: &str = "Bezier";
pub const BEZIER_TIP: &str = "As the handles say";
pub const CURVE: &str = "Progress curve";
pub const CURVE_TIP: &str = "Way over time between two keys. Drag a handle to shape it; the green line is the speed";
pub const HANDLES: [&str; 2] = ["First curve handle", "Second curve handle"];
pub const VALUES: &str = "Over time";
pub const PLOT_SPEED: &str = "Speed";

/// Presets.
pub const PRESETS: &str = "Presets";
pub const PRESETS_TIP: &str = "The keys are replaced.";
pub const PRESETS_ADD: &str = "The keys stay.";
pub const STRENGTH: &str = "Strength";
pub const HANDHELD: &str = "Trembling";
pub const HANDHELD_TIP: &str = "The trembling of a hand, added to the keys";
pub const SEED: &str = "Seed";

/// Look at.
pub const LOOK_AT: &str = "Look at";
pub const PICK_BUTTON: &str = "Pick on the picture";
pub const PICK_TIP: &str = "The camera keeps looking at what you click";
pub const CLEAR: &str = "Clear target";
pub const NO_TARGET: &str = "nothing: the keys say where";

/// Files.
pub const FILES: &str = "Path as a file";
pub const IMPORT: &str = "Import…";
pub const IMPORT_TIP: &str = "Read matrices per frame (JSON), as the Blender script writes them";
pub const EXPORT: &str = "Export…";
pub const EXPORT_TIP: &str = "Write a matrix per frame as JSON, for the Blender script and other programs";

/// Depth.
pub const SOURCE: &str = "Where the depth comes from";
pub const BACKDROP: &str = "Backdrop";
pub const BACKDROP_TIP: &str = "A wall: everything equally far";
pub const GROUND: &str = "Ground";
pub const GROUND_TIP: &str = "The ground up to a horizon, and what stands behind it";
pub const ROOM: &str = "Room";
pub const ROOM_TIP: &str = "The inside of a box";
pub const PAINTED: &str = "Painted";
pub const PAINTED_TIP: &str = "Near and far painted by hand; between the marks it is filled along the picture's edges";
pub const FILE: &str = "File";
pub const FILE_TIP: &str = "A depth picture: PNG, EXR or .npz";
pub const DISTANCE: &str = "Distance";
pub const HEIGHT: &str = "Camera height";
pub const FAR: &str = "Far";
pub const NEAR: &str = "Near";
pub const LENGTH: &str = "Length";
pub const LENS: &str = "Lens";
pub const LENS_TIP: &str = "Field of view of the camera that took the picture, over its longer side";
pub const BRUSH: &str = "Brush";
pub const BRUSH_FIELD: &str = "Depth brush";
pub const VALUE: &str = "Paint depth";
pub const VALUE_NEAR: &str = "near";
pub const VALUE_FAR: &str = "far";
pub const MARK_REGION: &str = "Marked region at this depth";
pub const MARK_REGION_TIP: &str = "Gives what is marked with the Region tool the depth of the slider";
pub const MARKS: &str = "marks";
pub const UNDO_MARK: &str = "Take back last";
pub const CLEAR_MARKS: &str = "Clear marks";
pub const PATH: &str = "Depth file";
pub const BROWSE: &str = "Browse…";
pub const USE_FILE: &str = "Use this file";
pub const MEANING: &str = "Its numbers";
pub const NEAR_WHITE: &str = "Near is white";
pub const FAR_WHITE: &str = "Far is white";
pub const METRIC: &str = "Metric";
pub const DISPARITY: &str = "Disparity";
pub const SCALE: &str = "Units per number";
pub const BASELINE: &str = "Baseline";
pub const OFFSET: &str = "Offset";
pub const SHOW: &str = "Show depth";
pub const SHOW_OFF: &str = "Off";
pub const SHOW_OFF_TIP: &str = "The picture as it is";
pub const SHOW_GREY: &str = "Grey";
pub const SHOW_GREY_TIP: &str = "Near is white";
pub const SHOW_COLOUR: &str = "Colour";
pub const SHOW_COLOUR_TIP: &str = "Near is warm, far is cool";
pub const MEASURING: &str = "The depth is being worked out…";

/// Steps of the undo menu.
pub const STEP_ADD: &str = "Add camera key";
pub const STEP_DELETE: &str = "Delete camera key";
pub const STEP_MOVE: &str = "Move camera";
pub const STEP_TIME: &str = "Move camera key in time";
pub const STEP_FOV: &str = "Field of view";
pub const STEP_CURVE: &str = "Camera curve";
pub const STEP_PRESET: &str = "Camera preset";
pub const STEP_HANDHELD: &str = "Handheld";
pub const STEP_LOOK: &str = "Look at";
pub const STEP_DEPTH: &str = "Depth";
pub const STEP_LENS: &str = "Lens";
pub const STEP_MARK: &str = "Paint depth";
pub const STEP_IMPORT: &str = "Import camera";
pub const STEP_REMOVE: &str = "Remove camera";
