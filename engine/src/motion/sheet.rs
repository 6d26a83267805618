//! Layers under the motion of clips: a mesh whose vertices take part in every transfer that moves the layer.
//!
//! Invariant: strokes come on top of transfers, so they never fold what transfers left whole; far outside the mesh a layer goes on as at
//! its border. Guarded by the tests of `scene`.

use std::sync::Arc;

use glam::Vec2;

use super::layer_motion::Mesh;
use super::transfer::{Driven, Field, unfold};

/// A layer's mesh at rest, and how the tracks of transfers move its vertices.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    rest: Mesh,
    /// Those over `All`, by index among the scene's, ...
    plate: Vec<(usize, Arc<Field>)>,
    /// ... and the layer's own.
    own: Vec<(usize, Arc<Field>)>,
}

/// Where transfers take the vertices of a mesh.
pub(crate) struct Places {
    /// With the plate's transfers.
    pub plate: Vec<Vec2>,
    /// With all of them.
    pub all: Vec<Vec2>,
}

impl Sheet {
    /// A mesh moved by those of `transfers` whose indices are in `plate` and `own`; None if there are none.
    pub fn new(rest: Mesh, plate: &[usize], own: &[usize], transfers: &[Arc<Driven>]) -> Option<Arc<Self>> {
        let fields = |indices: &[usize]| {
            let field = |i: &usize| (*i, Arc::new(Field::new(&rest, &transfers[*i].rest, transfers[*i].trust())));
            indices.iter().map(field).collect::<Vec<_>>()
        };
        let (plate, own) = (fields(plate), fields(own));
        (!plate.is_empty() || !own.is_empty()).then(|| Arc::new(Self { rest, plate, own }))
    }

    /// The same mesh when `old` transfers became `new` ones of the same clips.
    pub fn revised(self: &Arc<Self>, old: &[Arc<Driven>], new: &[Arc<Driven>]) -> Arc<Self> {
        let moved = |i: usize| !Arc::ptr_eq(&old[i], &new[i]) && old[i].rest != new[i].rest;
        if !self.plate.iter().chain(&self.own).any(|(i, _)| moved(*i)) {
            return self.clone();
        }
        let fields = |fields: &[(usize, Arc<Field>)]| {
            let field = |(i, field): &(usize, Arc<Field>)| match moved(*i) {
                true => (*i, Arc::new(Field::new(&self.rest, &new[*i].rest, new[*i].trust()))),
                false => (*i, field.clone()),
            };
            fields.iter().map(field).collect()
        };
        Arc::new(Self { rest: self.rest.clone(), plate: fields(&self.plate), own: fields(&self.own) })
    }

    /// The vertices, given how far each transfer's tracks have gone.
    pub fn places(&self, ways: &[Vec<Vec2>]) -> Places {
        let bent = |from: &[Vec2], fields: &[(usize, Arc<Field>)]| {
            let mut places = from.to_vec();
            if !fields.is_empty() {
                fields.iter().for_each(|(i, field)| field.add(&ways[*i], &mut places));
                self.continue_border(&mut places);
                unfold(&self.rest, &mut places);
            }
            places
        };
        let plate = bent(&self.rest.positions, &self.plate);
        Places { all: bent(&plate, &self.own), plate }
    }

    /// The mesh with its vertices at `places`.
    pub fn mesh(&self, places: impl Iterator<Item = Vec2>) -> Mesh {
        let Mesh { origin, spacing_px, columns, rows, .. } = self.rest;
        Mesh { origin, spacing_px, columns, rows, positions: places.collect() }
    }

    /// Gives the outermost vertices the way of those next to them: beyond the border a mesh is continued by its last cells, and a slope
    /// there would grow without end.
    fn continue_border(&self, places: &mut [Vec2]) {
        let (columns, rows) = (self.rest.columns, self.rest.rows);
        if columns < 3 || rows < 3 {
            return;
        }
        let border = |i: &usize| {
            let (column, row) = (i % columns, i / columns);
            column == 0 || row == 0 || column + 1 == columns || row + 1 == rows
        };
        for i in (0..columns * rows).filter(border) {
            let inner = (i / columns).clamp(1, rows - 2) * columns + (i % columns).clamp(1, columns - 2);
            places[i] = self.rest.positions[i] + (places[inner] - self.rest.positions[inner]);
        }
    }
}
