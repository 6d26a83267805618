// A picture of the canvas, put where it was drawn for, pixel on pixel. The canvas's corner in the target travels as the instance's number.

@group(0) @binding(0) var picture: texture_2d<f32>;

struct Fragment {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) corner: vec2i,
}

@vertex
fn vertex(@builtin(vertex_index) vertex: u32, @builtin(instance_index) corner: u32) -> Fragment {
    // One triangle that is larger than the viewport.
    let place = vec2f(f32(vertex & 1u), f32(vertex >> 1u)) * 4.0 - 1.0;
    return Fragment(vec4f(place, 0.0, 1.0), vec2i(vec2u(corner & 0xffffu, corner >> 16u)));
}

@fragment
fn fragment(in: Fragment) -> @location(0) vec4f {
    return textureLoad(picture, vec2i(in.position.xy) - in.corner, 0);
}
