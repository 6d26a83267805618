// A rectangle of one colour over the whole viewport. The colour travels as the instance's number, so nothing has to be bound: where the
// processor draws, the window's large areas cost next to nothing this way.

struct Fragment {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) colour: u32,
}

@vertex
fn vertex(@builtin(vertex_index) corner: u32, @builtin(instance_index) colour: u32) -> Fragment {
    // One triangle that is larger than the viewport.
    let place = vec2f(f32(corner & 1u), f32(corner >> 1u)) * 4.0 - 1.0;
    return Fragment(vec4f(place, 0.0, 1.0), colour);
}

@fragment
fn fragment(in: Fragment) -> @location(0) vec4f {
    return unpack4x8unorm(in.colour);
}
