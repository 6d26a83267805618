#!/usr/bin/env python3
"""OpenCV's calcOpticalFlowPyrLK, chained from frame to frame with a forward-backward check, on the clips of `kinebrush eval track`.

    kinebrush eval track --export FOLDER
    python3 -m venv VENV && VENV/bin/pip install opencv-python-headless
    VENV/bin/python tests/bench/opencv_tracks.py FOLDER

Prints OpenCV's figures beside ours, counted alike: every visible point-frame after the first of each clip; a lost point stays where it
was lost and is hidden from then on.
"""

import argparse
import pathlib

import cv2
import numpy

FORWARD_BACKWARD_PX = 1.0
LUCAS_KANADE = dict(
    winSize=(21, 21), maxLevel=4, criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
)


def chained(frames, start):
    """Places and visibility per frame."""
    height, width = frames[0].shape
    place = start.astype(numpy.float32).reshape(-1, 1, 2)
    alive = numpy.ones(len(start), bool)
    places, visible = [place[:, 0].copy()], [alive.copy()]
    for before, now in zip(frames, frames[1:]):
        # OpenCV counts pixel centres from 0, Kinebrush from 0.5.
        there, found, _ = cv2.calcOpticalFlowPyrLK(before, now, place - 0.5, None, **LUCAS_KANADE)
        back, again, _ = cv2.calcOpticalFlowPyrLK(now, before, there, None, **LUCAS_KANADE)
        apart = numpy.linalg.norm(back + 0.5 - place, axis=2)[:, 0]
        there = there[:, 0] + 0.5
        inside = (there >= 0).all(1) & (there[:, 0] < width) & (there[:, 1] < height)
        alive &= (found[:, 0] == 1) & (again[:, 0] == 1) & (apart <= FORWARD_BACKWARD_PX) & inside
        place[alive, 0] = there[alive]
        places.append(place[:, 0].copy())
        visible.append(alive.copy())
    return numpy.array(places), numpy.array(visible)


def figures(clips, name):
    """Shares within 1, 2, 4 px of visible point-frames, median distance, occlusion accuracy."""
    off, right = [], []
    for truth, shown, answers in clips:
        places, visible = answers[name]
        distance = numpy.linalg.norm(places - truth, axis=2)[1:]
        off.append(distance[shown[1:]])
        right.append((visible == shown)[1:].ravel())
    off, right = numpy.concatenate(off), numpy.concatenate(right)
    return [100 * (off <= px).mean() for px in (1, 2, 4)] + [numpy.median(off), 100 * right.mean()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="what `kinebrush eval track --export` wrote")
    folders = sorted(parser.parse_args().folder.glob("clip_*"))
    if not folders:
        parser.error("no clip_* in the folder; write them with `kinebrush eval track --export FOLDER`")
    clips = []
    for folder in folders:
        paths = sorted(folder.glob("frame_*.png"))
        frames = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
        truth, ours = numpy.load(folder / "truth.npz"), numpy.load(folder / "ours.npz")
        answers = {"ours": (ours["tracks"], ours["visibility"]), "OpenCV": chained(frames, truth["tracks"][0])}
        clips.append((truth["tracks"], truth["visibility"], answers))
    print(f"{len(clips)} clips, OpenCV {cv2.__version__}")
    print(f"{'':8} {'<1 px %':>8} {'<2 px %':>8} {'<4 px %':>8} {'median':>8} {'occl. %':>8}")
    rows = {name: figures(clips, name) for name in ("ours", "OpenCV")}
    for name, row in rows.items():
        print(f"{name:8} {row[0]:8.1f} {row[1]:8.1f} {row[2]:8.1f} {row[3]:8.3f} {row[4]:8.1f}")
    print(f"ours / OpenCV within 1 px: {rows['ours'][0] / rows['OpenCV'][0]:.3f}")


if __name__ == "__main__":
    main()
