//! Triangles over a grid of inverse depths: large ones where the surface is flat, small ones along tears.
//!
//! The corners are pixel centres. Invariant: no triangle spans a tear; a triangle's surface is nowhere farther from the depths it covers
//! than a few [`FLAT_PX`]; no corner lies on another triangle's edge, where a camera would see through the crack between them. Guarded by
//! the tests below.

use glam::Vec2;

use super::depth::{Depth, TEAR_PX, backdrop};
use crate::picture::Mask;

/// How far a triangle may be from the depths it covers, in px of parallax.
const FLAT_PX: f32 = 0.1;
/// With more corners than these in a sheet, triangles may be farther from them.
const MOST_CORNERS: usize = 400_000;
/// No corner.
const NONE: u32 = u32::MAX;

/// A corner of a triangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corner {
    /// Where it is in the source, px.
    pub place: Vec2,
    /// Its inverse depth.
    pub inverse_depth: f32,
    /// How opaque a rim is here; in an opaque triangle whether what it shows may count as seen.
    pub alpha: f32,
}

/// A surface of triangles.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// Corners of all triangles.
    pub corners: Vec<Corner>,
    /// Triangles in one piece with their surroundings.
    pub opaque: Vec<[u32; 3]>,
    /// Triangles along tears, which fade out: drawn over everything farther away.
    pub rim: Vec<[u32; 3]>,
}

/// What a sheet is made over.
struct Ground<'a> {
    depth: &'a Mask,
    /// Places of the columns and rows, px.
    xs: Vec<f32>,
    ys: Vec<f32>,
    /// Columns and rows of cells at the border that are drawn out, and so cannot be part of large triangles.
    skirt: usize,
}

impl Ground<'_> {
    /// Whether two triangles over the `side` x `side` cells from (x, y) on are near enough to all depths.
    fn is_flat(&self, x: usize, y: usize, side: usize, solid: &[bool], tolerance: f32) -> bool {
        let (columns, rows) = (self.xs.len(), self.ys.len());
        if x < self.skirt || y < self.skirt || x + side + self.skirt >= columns || y + side + self.skirt >= rows {
            return false;
        }
        let at = |i: usize, j: usize| self.depth.data[(y + j) * columns + x + i];
        let corners = [at(0, 0), at(side, 0), at(0, side), at(side, side)];
        // The diagonal goes from the first corner to the last.
        if (corners[0] + corners[3] - corners[1] - corners[2]).abs() > 4.0 * tolerance {
            return false;
        }
        let part = (side as f32).recip();
        (0..=side).all(|j| {
            let v = j as f32 * part;
            let (left, right) = (corners[0] + v * (corners[2] - corners[0]), corners[1] + v * (corners[3] - corners[1]));
            (0..=side).all(|i| (at(i, j) - (left + i as f32 * part * (right - left))).abs() <= tolerance)
                && (j == side || (0..side).all(|i| solid[(y + j) * (columns - 1) + x + i]))
        })
    }
}

impl Sheet {
    /// Over the solid cells of `ground`.
    fn over(ground: &Ground, solid: &[bool], unit: f32, block: usize) -> Self {
        let mut tolerance = FLAT_PX * unit;
        loop {
            let sheet = Self::within(ground, solid, tolerance, block);
            // Along tears triangles stay small whatever is tolerated.
            if sheet.corners.len() <= MOST_CORNERS || tolerance > 8.0 * unit {
                return sheet;
            }
            tolerance *= 2.0;
        }
    }

    fn within(ground: &Ground, solid: &[bool], tolerance: f32, block: usize) -> Self {
        let (columns, rows) = (ground.xs.len(), ground.ys.len());
        let (mut squares, mut open) = (Vec::new(), Vec::new());
        // Blocks begin behind the skirt.
        let starts = |count: usize| {
            let inner = (ground.skirt..count.saturating_sub(1 + ground.skirt)).step_by(block);
            let skirt = (0..ground.skirt).chain(count.saturating_sub(1 + ground.skirt)..count - 1);
            let mut starts: Vec<(usize, bool)> = inner.map(|i| (i, true)).chain(skirt.map(|i| (i, false))).collect();
            starts.sort_unstable();
            starts
        };
        let (across, down) = (starts(columns), starts(rows));
        for &(y, inner_y) in &down {
            for &(x, inner_x) in &across {
                match (inner_x, inner_y) {
                    (true, true) => open.push((x, y, block)),
                    (false, false) => open.push((x, y, 1)),
                    (true, false) => open.extend((x..(x + block).min(columns - 1 - ground.skirt)).rev().map(|x| (x, y, 1))),
                    (false, true) => open.extend((y..(y + block).min(rows - 1 - ground.skirt)).rev().map(|y| (x, y, 1))),
                }
                while let Some((x, y, side)) = open.pop() {
                    if x + 1 >= columns || y + 1 >= rows {
                        continue;
                    }
                    if side == 1 {
                        if solid[y * (columns - 1) + x] {
                            squares.push((x, y, 1));
                        }
                    } else if ground.is_flat(x, y, side, solid, tolerance) {
                        squares.push((x, y, side));
                    } else {
                        let half = side / 2;
                        // What reaches into the skirt is done there.
                        let inside = |x: usize, y: usize| x + 1 + ground.skirt < columns && y + 1 + ground.skirt < rows;
                        let four = [(x + half, y + half), (x, y + half), (x + half, y), (x, y)];
                        open.extend(four.into_iter().filter(|&(x, y)| inside(x, y)).map(|(x, y)| (x, y, half)));
                    }
                }
            }
        }
        // Where squares, or the rims of torn cells, have corners.
        let mut corner = vec![false; columns * rows];
        let torn = solid.iter().enumerate().filter(|(_, solid)| !**solid).map(|(i, _)| (i % (columns - 1), i / (columns - 1), 1));
        for (x, y, side) in squares.iter().copied().chain(torn) {
            [(x, y), (x + side, y), (x, y + side), (x + side, y + side)].into_iter().for_each(|(x, y)| corner[y * columns + x] = true);
        }
        let (mut sheet, mut index) = (Self::default(), vec![NONE; columns * rows]);
        squares.into_iter().for_each(|square| sheet.square(ground, &mut index, &corner, square));
        sheet
    }

    /// Adds the square of `side` cells from (x, y) on: two triangles, or, where neighbours have corners on its edges, a fan around its
    /// middle that has them too.
    fn square(&mut self, ground: &Ground, index: &mut [u32], corner: &[bool], (x, y, side): (usize, usize, usize)) {
        let columns = ground.xs.len();
        let mut vertex = |x: usize, y: usize| {
            let known = &mut index[y * columns + x];
            if *known == NONE {
                *known = self.corners.len() as u32;
                let place = Vec2::new(ground.xs[x], ground.ys[y]);
                self.corners.push(Corner { place, inverse_depth: ground.depth.data[y * columns + x], alpha: 1.0 });
            }
            *known
        };
        // Once around, from the top left corner to the right.
        let edges = (0..side).map(|i| (x + i, y)).chain((0..side).map(|i| (x + side, y + i)));
        let edges = edges.chain((0..side).map(|i| (x + side - i, y + side))).chain((0..side).map(|i| (x, y + side - i)));
        let around = edges.filter(|(x, y)| corner[y * columns + x]);
        if around.clone().count() == 4 {
            let [a, b, c, d] = [(x, y), (x + side, y), (x, y + side), (x + side, y + side)].map(|(x, y)| vertex(x, y));
            self.opaque.extend([[a, b, d], [a, d, c]]);
            return;
        }
        let around: Vec<u32> = around.map(|(x, y)| vertex(x, y)).collect();
        let middle = vertex(x + side / 2, y + side / 2);
        let next = around.iter().cycle().skip(1);
        self.opaque.extend(around.iter().zip(next).map(|(a, b)| [middle, *a, *b]));
    }

    /// Adds the triangles of a backdrop, which shows nothing that was seen.
    fn add(&mut self, backdrop: Self) {
        let first = self.corners.len() as u32;
        self.corners.extend(backdrop.corners.iter().map(|corner| Corner { alpha: 0.0, ..*corner }));
        self.opaque.extend(backdrop.opaque.iter().map(|triangle| triangle.map(|i| first + i)));
    }

    /// Adds the near part of a torn cell; `near` says which corners it has.
    fn fringe(&mut self, places: [Vec2; 4], depths: [f32; 4], near: [bool; 4]) {
        let count = near.iter().filter(|n| **n).count() as f32;
        let mean = (0..4).filter(|&i| near[i]).map(|i| depths[i]).sum::<f32>() / count;
        let first = self.corners.len() as u32;
        self.corners.extend((0..4).map(|i| Corner {
            place: places[i],
            inverse_depth: if near[i] { depths[i] } else { mean },
            alpha: f32::from(u8::from(near[i])),
        }));
        // Cut so that a corner on its own is cut off.
        let cut = if near[0] == near[3] && near[1] != near[2] { [[0, 1, 2], [1, 3, 2]] } else { [[0, 1, 3], [0, 3, 2]] };
        self.rim.extend(cut.map(|t: [u32; 3]| t.map(|i| first + i)));
    }
}

/// Corners of cell (x, y) of a grid: indices in turn top left, top right, bottom left, bottom right.
fn cell(x: usize, y: usize, columns: usize) -> [usize; 4] {
    let first = y * columns + x;
    [first, first + 1, first + columns, first + columns + 1]
}

fn spread(w: [f32; 4]) -> (f32, f32) {
    (w.into_iter().fold(f32::MAX, f32::min), w.into_iter().fold(f32::MIN, f32::max))
}

/// Front and back of a plate whose top left pixel's corner is at `origin`; the front is drawn out by `reach` px beyond its border.
pub fn plate(depth: &Depth, origin: Vec2, reach: f32, block: usize) -> [Sheet; 2] {
    let (width, height, unit) = (depth.front.width, depth.front.height, depth.unit);
    let tear = TEAR_PX * unit;
    // With one more line on each side, far out.
    let (columns, rows) = (width + 2, height + 2);
    let drawn_out = Mask::from_fn(columns, rows, |x, y| depth.front.clamped(x as isize - 1, y as isize - 1));
    let line = |i: usize, count: usize, origin: f32| match i {
        0 => origin - reach,
        i if i + 1 == count => origin + (count - 2) as f32 + reach,
        _ => origin + i as f32 - 0.5,
    };
    let xs: Vec<f32> = (0..columns).map(|i| line(i, columns, origin.x)).collect();
    let ys: Vec<f32> = (0..rows).map(|i| line(i, rows, origin.y)).collect();
    let depths = |grid: &Mask, x: usize, y: usize| cell(x, y, grid.width).map(|i| grid.data[i]);
    let cells = |columns: usize, rows: usize| (0..rows - 1).flat_map(move |y| (0..columns - 1).map(move |x| (x, y)));

    let whole = |(x, y): (usize, usize)| {
        let (far, near) = spread(depths(&drawn_out, x, y));
        near - far <= tear
    };
    let solid: Vec<bool> = cells(columns, rows).map(whole).collect();
    let ground = Ground { depth: &drawn_out, xs, ys, skirt: 1 };
    let mut front = Sheet::over(&ground, &solid, unit, block);
    for (x, y) in cells(columns, rows).zip(&solid).filter(|(_, solid)| !**solid).map(|(cell, _)| cell) {
        let w = depths(&drawn_out, x, y);
        let (far, near) = spread(w);
        let places = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)].map(|(x, y)| Vec2::new(ground.xs[x], ground.ys[y]));
        front.fringe(places, w, w.map(|w| w > 0.5 * (far + near)));
    }

    if !depth.hides {
        return [front, Sheet::default()];
    }
    // What is seen beside it must not be the near side.
    let behind = |(x, y): (usize, usize)| {
        let corners = cell(x, y, width);
        let hidden = |i: &usize| depth.hidden.data[*i] > 0.0;
        let nearest = corners.iter().filter(|i| hidden(i)).map(|&i| depth.back.data[i]).fold(f32::MIN, f32::max);
        corners.iter().any(hidden) && corners.iter().all(|i| hidden(i) || depth.back.data[*i] <= nearest + 2.0 * tear)
    };
    let solid: Vec<bool> = cells(width, height).map(behind).collect();
    let mut back = Sheet::over(&pixels(&depth.back, origin), &solid, unit, block);
    // Behind it all, so that no camera sees nothing.
    let far = backdrop(&depth.front, block);
    let line = |i: usize, count: usize, size: usize, origin: f32| match i {
        0 => origin - reach,
        i if i + 1 == count => origin + size as f32 + reach,
        _ => origin + (i * block).min(size) as f32,
    };
    let xs = (0..far.width).map(|i| line(i, far.width, width, origin.x)).collect();
    let ys = (0..far.height).map(|i| line(i, far.height, height, origin.y)).collect();
    let cells = (far.width - 1) * (far.height - 1);
    back.add(Sheet::over(&Ground { depth: &far, xs, ys, skirt: 0 }, &vec![true; cells], unit, 1));
    [front, back]
}

/// All of a grid whose top left pixel's corner is at `origin`, in one piece and to the edge of its border pixels.
pub fn whole(depth: &Mask, origin: Vec2, unit: f32, block: usize) -> Sheet {
    let (columns, rows) = (depth.width + 2, depth.height + 2);
    let wider = Mask::from_fn(columns, rows, |x, y| depth.clamped(x as isize - 1, y as isize - 1));
    let ground = pixels(&wider, origin - 1.0);
    Sheet::over(&ground, &vec![true; (columns - 1) * (rows - 1)], unit, block)
}

fn pixels(depth: &Mask, origin: Vec2) -> Ground<'_> {
    let centres = |count: usize, origin: f32| (0..count).map(|i| origin + i as f32 + 0.5).collect();
    Ground { depth, xs: centres(depth.width, origin.x), ys: centres(depth.height, origin.y), skirt: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::depth::unit;
    use super::*;

    fn area(sheet: &Sheet, triangles: &[[u32; 3]]) -> f32 {
        let twice = |t: &[u32; 3]| {
            let [a, b, c] = t.map(|i| sheet.corners[i as usize].place);
            (b - a).perp_dot(c - a)
        };
        assert!(triangles.iter().all(|t| twice(t) > 0.0), "every triangle is turned the same way");
        triangles.iter().map(|t| 0.5 * twice(t)).sum()
    }

    #[test]
    fn a_flat_plate_is_a_few_triangles_that_cover_it_once() {
        let flat = Mask::from_fn(70, 45, |x, y| 0.1 + 0.0001 * x as f32 + 0.0002 * y as f32);
        let [front, back] = plate(&Depth::new(&flat, unit(&flat)), Vec2::new(-3.0, -2.0), 100.0, 16);
        assert!(back.opaque.is_empty() && front.rim.is_empty());
        let inner = front.opaque.len();
        // Two for each px of the skirt, and few within, though those beside it have its corners too.
        assert!(inner < 1000, "{inner}");
        // 70 px less half a px on each side, and the skirt.
        assert!((area(&front, &front.opaque) - (70.0 + 200.0) * (45.0 + 200.0)).abs() < 1.0, "{}", area(&front, &front.opaque));
        let object = whole(&flat, Vec2::ZERO, unit(&flat), 4);
        assert!((area(&object, &object.opaque) - 71.0 * 46.0).abs() < 0.5);
    }

    #[test]
    fn no_corner_lies_on_an_edge_of_another_triangle() {
        // Flat here and curved there, with a tear: squares of all sizes beside each other.
        let height = |x: f32, y: f32| 0.3 + 0.1 * (0.002 * x * y).sin() + if (20.0..33.0).contains(&x) && y > 40.0 { 0.5 } else { 0.0 };
        let curved = Mask::from_fn(90, 70, |x, y| height(x as f32, y as f32));
        let depth = Depth::new(&curved, unit(&curved));
        let [front, back] = plate(&depth, Vec2::ZERO, 50.0, 16);
        assert!(!front.rim.is_empty() && !back.opaque.is_empty());
        let sides: Vec<f32> =
            front.opaque.iter().map(|t| front.corners[t[1] as usize].place.distance(front.corners[t[2] as usize].place)).collect();
        assert!(sides.contains(&1.0) && sides.contains(&8.0));
        for sheet in [&front, &whole(&curved, Vec2::ZERO, unit(&curved), 16)] {
            // The rim's corners lie in the same places as those of what they hang on.
            let places: Vec<Vec2> = sheet.corners.iter().map(|corner| corner.place).collect();
            for triangle in &sheet.opaque {
                for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                    let [a, b] = [from, to].map(|i: usize| places[triangle[i] as usize]);
                    let on =
                        |p: &&Vec2| (b - a).perp_dot(**p - a).abs() < 1e-3 && (**p - a).dot(b - a) > 1e-3 && (**p - b).dot(a - b) > 1e-3;
                    assert_eq!(places.iter().find(on), None, "on the edge from {a} to {b}");
                }
            }
        }
    }

    #[test]
    fn no_triangle_spans_a_tear_and_the_back_goes_on_behind_it() {
        let inside = |x: usize, y: usize| (30..50).contains(&x) && (20..40).contains(&y);
        let boxed = Mask::from_fn(80, 60, |x, y| if inside(x, y) { 1.0 } else { 0.2 + 0.001 * x as f32 });
        let depth = Depth::new(&boxed, unit(&boxed));
        let [front, back] = plate(&depth, Vec2::ZERO, 50.0, 16);
        for (sheet, triangles) in [(&front, &front.opaque), (&front, &front.rim), (&back, &back.opaque)] {
            assert!(!triangles.is_empty());
            for t in triangles {
                let w = t.map(|i| sheet.corners[i as usize].inverse_depth);
                let (least, most) = (w.into_iter().fold(f32::MAX, f32::min), w.into_iter().fold(f32::MIN, f32::max));
                assert!(most - least < 0.1 || std::ptr::eq(triangles, &back.opaque), "{w:?}");
            }
        }
        assert!(back.corners.iter().all(|c| c.inverse_depth < 0.5));
        // Opaque and rim together lie over every place once, and the back under the whole rim.
        let covered = area(&front, &front.opaque) + area(&front, &front.rim);
        assert!((covered - 180.0 * 160.0).abs() < 1.0, "{covered}");
        let behind =
            |c: &&Corner| c.alpha > 0.0 && c.place.cmpgt(Vec2::new(31.0, 21.0)).all() && c.place.cmplt(Vec2::new(49.0, 39.0)).all();
        assert!(back.corners.iter().filter(behind).count() > 4);
    }
}
