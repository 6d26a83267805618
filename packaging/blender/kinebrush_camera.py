"""Kinebrush camera paths in Blender: File > Import / Export > Kinebrush camera (.json).

Kinebrush: x to the right, y down, z ahead, the eye at the origin when the picture was taken, 16 frames a second.
Blender: the world has z up and y ahead, a camera looks along its own -z. One unit stays one unit.
`python3 kinebrush_camera.py --self-test` tests the conversions without Blender.
"""

import json
import math
import sys

bl_info = {
    "name": "Kinebrush camera",
    "author": "Kinebrush",
    "version": (1, 0, 0),
    "blender": (3, 0, 0),
    "location": "File > Import-Export",
    "description": "Reads and writes Kinebrush camera paths",
    "category": "Import-Export",
}

FORMAT = "kinebrush-camera"
# Blender world to Kinebrush world, and camera axes to camera axes (its own inverse), by rows.
WORLD = ((1, 0, 0, 0), (0, 0, -1, 0), (0, 1, 0, 0), (0, 0, 0, 1))
WORLD_BACK = ((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1))
CAMERA = ((1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, 1))


def product(a, b):
    return [[sum(a[i][k] * b[k][j] for k in range(4)) for j in range(4)] for i in range(4)]


def to_kinebrush(matrix):
    """Camera-to-world matrix (rows) of Blender as Kinebrush has it."""
    return product(product(WORLD, matrix), CAMERA)


def to_blender(matrix):
    """Camera-to-world matrix (rows) of Kinebrush as Blender has it."""
    return product(product(WORLD_BACK, matrix), CAMERA)


def document(frames, fps, width, height):
    """Frames of (frame, field of view in degrees, Blender matrix) as what the file holds."""
    rows = [{"frame": f, "fov_deg": fov, "matrix": to_kinebrush(m)} for f, fov, m in frames]
    return {"format": FORMAT, "version": 1, "fps": fps, "width": width, "height": height, "frames": rows}


def frames_of(held):
    """What a file holds as (seconds, field of view in degrees, Blender matrix)."""
    if held.get("format") != FORMAT or held.get("version") != 1:
        raise ValueError("This is no Kinebrush camera path; export one from Kinebrush.")
    return [(row["frame"] / held["fps"], row["fov_deg"], to_blender(row["matrix"])) for row in held["frames"]]


def self_test():
    at_rest = [[float(i == j) for j in range(4)] for i in range(4)]
    blender = to_blender(at_rest)
    # Looking along +y with z up: the camera's -z is the world's y, its y the world's z.
    assert [-blender[i][2] for i in range(3)] == [0, 1, 0], blender
    assert [blender[i][1] for i in range(3)] == [0, 0, 1], blender
    turn = math.radians(30)
    moved = [
        [math.cos(turn), 0.0, math.sin(turn), 1.0],
        [0.0, 1.0, 0.0, -2.0],
        [-math.sin(turn), 0.0, math.cos(turn), 3.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
    there = to_blender(moved)
    # Two units up and three ahead.
    assert [there[i][3] for i in range(3)] == [1.0, 3.0, 2.0], there
    back = to_kinebrush(there)
    assert all(abs(back[i][j] - moved[i][j]) < 1e-12 for i in range(4) for j in range(4)), back
    held = json.loads(json.dumps(document([(0, 50.0, there)], 24.0, 640, 400)))
    (seconds, fov, again), = frames_of(held)
    assert (seconds, fov) == (0.0, 50.0) and all(abs(again[i][j] - there[i][j]) < 1e-9 for i in range(4) for j in range(4))
    try:
        frames_of({"format": "other"})
    except ValueError:
        print("self-test passed")
    else:
        raise AssertionError("another format was taken")


try:
    import bpy
    from bpy_extras.io_utils import ExportHelper, ImportHelper
except ImportError:
    bpy = None

if bpy:
    from mathutils import Matrix

    class ExportKinebrushCamera(bpy.types.Operator, ExportHelper):
        """Write the scene's camera, one matrix per frame"""

        bl_idname = "export_scene.kinebrush_camera"
        bl_label = "Export Kinebrush camera"
        filename_ext = ".json"

        def execute(self, context):
            scene, camera = context.scene, context.scene.camera
            if camera is None:
                self.report({"ERROR"}, "The scene has no camera; add one.")
                return {"CANCELLED"}
            now, frames = scene.frame_current, []
            for frame in range(scene.frame_start, scene.frame_end + 1):
                scene.frame_set(frame)
                matrix = [list(row) for row in camera.matrix_world.normalized()]
                frames.append((frame - scene.frame_start, math.degrees(camera.data.angle), matrix))
            scene.frame_set(now)
            render = scene.render
            fps = render.fps / render.fps_base
            with open(self.filepath, "w", encoding="utf-8") as file:
                json.dump(document(frames, fps, render.resolution_x, render.resolution_y), file, indent=1)
            return {"FINISHED"}

    class ImportKinebrushCamera(bpy.types.Operator, ImportHelper):
        """Make a camera that goes as in Kinebrush"""

        bl_idname = "import_scene.kinebrush_camera"
        bl_label = "Import Kinebrush camera"
        filename_ext = ".json"

        def execute(self, context):
            try:
                with open(self.filepath, encoding="utf-8") as file:
                    held = json.load(file)
                frames = frames_of(held)
            except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
            scene = context.scene
            data = bpy.data.cameras.new("Kinebrush")
            data.sensor_fit = "AUTO"
            camera = bpy.data.objects.new("Kinebrush", data)
            camera.rotation_mode = "QUATERNION"
            scene.collection.objects.link(camera)
            scene.camera = camera
            scene.render.resolution_x, scene.render.resolution_y = held["width"], held["height"]
            fps = scene.render.fps / scene.render.fps_base
            for seconds, fov, matrix in frames:
                frame = scene.frame_start + seconds * fps
                camera.matrix_world = Matrix(matrix)
                data.angle = math.radians(fov)
                camera.keyframe_insert("location", frame=frame)
                camera.keyframe_insert("rotation_quaternion", frame=frame)
                data.keyframe_insert("lens", frame=frame)
            return {"FINISHED"}

    CLASSES = (ExportKinebrushCamera, ImportKinebrushCamera)

    def export_menu(self, _context):
        self.layout.operator(ExportKinebrushCamera.bl_idname, text="Kinebrush camera (.json)")

    def import_menu(self, _context):
        self.layout.operator(ImportKinebrushCamera.bl_idname, text="Kinebrush camera (.json)")

    def register():
        for known in CLASSES:
            bpy.utils.register_class(known)
        bpy.types.TOPBAR_MT_file_export.append(export_menu)
        bpy.types.TOPBAR_MT_file_import.append(import_menu)

    def unregister():
        bpy.types.TOPBAR_MT_file_import.remove(import_menu)
        bpy.types.TOPBAR_MT_file_export.remove(export_menu)
        for known in reversed(CLASSES):
            bpy.utils.unregister_class(known)


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        self_test()
    elif bpy:
        register()
