#!/usr/bin/env python3
"""Makes turning_head.npz (exact tracks) and turning_head.mp4 (what they are tracks of): an egg that turns and nods, all our own.

Needs numpy, and ffmpeg for the clip. Run it in this folder; the preset turn.ron uses the tracks.
"""
import subprocess
import numpy as np

WIDTH, HEIGHT, FRAMES, FPS = 256, 192, 97, 16
MIDDLE, RADII = np.array([128.0, 96.0]), np.array([84.0, 88.0, 80.0])  # px; the third is towards the eye


def turn(frame):
    """The egg's rotation: to one side, back over to the other with a nod, and home again."""
    t = 2 * np.pi * frame / (FRAMES - 1)
    yaw, pitch, roll = np.radians([11 * np.sin(t), 5 * (1 - np.cos(2 * t)) / 2, 3 * np.sin(t)])
    (cy, sy), (cp, sp), (cr, sr) = [(np.cos(a), np.sin(a)) for a in (yaw, pitch, roll)]
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def on_egg(places):
    """The point of the egg (unit ball) seen at each place at rest, and whether there is one."""
    p = (places - MIDDLE) / RADII[:2]
    left = 1 - (p**2).sum(-1)
    return np.concatenate([p, np.sqrt(np.maximum(left, 0))[..., None]], -1), left > 0


def tracks():
    step = 8
    x, y = np.meshgrid(np.arange(step / 2, WIDTH, step), np.arange(step / 2, HEIGHT, step))
    rest = np.stack([x.ravel(), y.ravel()], -1)
    ball, hit = on_egg(rest)
    places, seen = [], []
    for frame in range(FRAMES):
        turned = ball @ turn(frame).T
        places.append(np.where(hit[:, None], MIDDLE + turned[:, :2] * RADII[:2], rest))
        seen.append(~hit | (turned[:, 2] > 0.12))
    # Rounded to 1/32 px, which packs well.
    np.savez_compressed("turning_head.npz", tracks=(np.round(np.array(places) * 32) / 32).astype(np.float32), visibility=np.array(seen))


def clip():
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    places = np.stack([x, y], -1)
    seen, hit = on_egg(places)
    command = f"ffmpeg -loglevel error -y -f rawvideo -pix_fmt rgb24 -s {WIDTH}x{HEIGHT} -r {FPS} -i - -c:v libx264 -pix_fmt yuv420p -crf 30 turning_head.mp4"
    pipe = subprocess.Popen(command.split(), stdin=subprocess.PIPE)
    room = np.stack([90 + 0.2 * y, 100 + 0.1 * x, 110 + 8 * np.sin(x / 9) * np.sin(y / 11)], -1)
    for frame in range(FRAMES):
        # What is seen now, turned back to rest, has the colour that was painted there.
        q = seen @ turn(frame)
        paint = 150 + 45 * np.sin(9 * q[..., 0]) * np.sin(9 * q[..., 1]) + 30 * np.sin(23 * q[..., 0] + 17 * q[..., 1])
        egg = np.stack([paint, paint * 0.85, paint * 0.6], -1) * (0.35 + 0.65 * seen[..., 2:])
        pipe.stdin.write(np.clip(np.where(hit[..., None], egg, room), 0, 255).astype(np.uint8).tobytes())
    pipe.stdin.close()
    pipe.wait()


tracks()
clip()
