// The guide of one frame: the plate, the objects over it, and the source itself where both move alike; the network's change is added
// to each of them, so that it is in the composite once. All colours are sRGB-encoded, as the engine blends them.

// The target decodes what it is given (an sRGB format); blending is linear then.
override LINEAR_TARGET: bool = false;
// How much of the frame a pixel of the target covers: 0 no more than a px, 1 up to three, 2 more. Known when a pipeline is made, as is
// the next one, because a card made of software goes through both sides of every condition.
override SHRINKS: u32 = 2u;
// There is a correction to be added.
override CHANGES: bool = true;

struct View {
    // From frame px to the target's clip space.
    clip_scale: vec2f,
    clip_offset: vec2f,
    // 1 / the frame's size in px.
    inverse_frame: vec2f,
    // Left of this frame x nothing is added.
    split_x: f32,
    objects: u32,
    columns: u32,
    // The correction is `(byte - 127) / 127 * range`.
    range: f32,
    // From inverse depth to the depth buffer, and inverse depth that a moderate camera move shifts by one px.
    nearness: f32,
    unit: f32,
    // How the camera sees a place: (X, Y, Z) = eye * (x, y, 1, inverse depth), shown at (X, Y) / Z.
    eye: array<vec4f, 4>,
}

struct Sheet {
    // Picture place of the texture's corner, and 1 / its size in picture px.
    origin: vec2f,
    inverse_size: vec2f,
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var smooth_sampler: sampler;
// Looks at the finest level alone.
@group(0) @binding(6) var fine_sampler: sampler;
@group(0) @binding(2) var correction: texture_2d<f32>;
@group(0) @binding(3) var source: texture_2d<f32>;
@group(0) @binding(4) var reach: texture_2d<u32>;
// Four texels for each motion (the plate's first), then the vertices of the meshes.
@group(0) @binding(5) var motions: texture_2d<f32>;

@group(1) @binding(0) var<uniform> sheet: Sheet;
@group(1) @binding(1) var texels: texture_2d<f32>;

struct Vertex {
    @location(0) frame: vec2f,
    @location(1) own: vec2f,
    @location(2) layer: u32,
}

struct Fragment {
    @builtin(position) position: vec4f,
    // Where it is in the frame, and in the source, px.
    @location(0) frame: vec2f,
    @location(1) own: vec2f,
    @location(2) @interpolate(flat) layer: u32,
}

@vertex
fn vertex(in: Vertex) -> Fragment {
    return Fragment(vec4f(in.frame * view.clip_scale + view.clip_offset, 0.0, 1.0), in.frame, in.own, in.layer);
}

// What the pixel around `uv` shows; `dx` and `dy` are its sides, in `uv`.
fn average(image: texture_2d<f32>, uv: vec2f, dx: vec2f, dy: vec2f) -> vec4f {
    if (SHRINKS == 0u) {
        return textureSampleLevel(image, fine_sampler, uv, 0.0);
    }
    // A quarter of the pixel each: sharper than one sample of a level that is as coarse as the pixel.
    let a = 0.25 * (dx + dy);
    let b = 0.25 * (dx - dy);
    if (SHRINKS == 1u) {
        return 0.25 * (textureSampleLevel(image, fine_sampler, uv + a, 0.0) + textureSampleLevel(image, fine_sampler, uv - a, 0.0)
            + textureSampleLevel(image, fine_sampler, uv + b, 0.0) + textureSampleLevel(image, fine_sampler, uv - b, 0.0));
    }
    let size = vec2f(textureDimensions(image));
    let level = max(log2(max(length(dx * size), length(dy * size))) - 1.0, 0.0);
    return 0.25 * (textureSampleLevel(image, smooth_sampler, uv + a, level) + textureSampleLevel(image, smooth_sampler, uv - a, level)
        + textureSampleLevel(image, smooth_sampler, uv + b, level) + textureSampleLevel(image, smooth_sampler, uv - b, level));
}

// What the network changed at a place of the frame.
fn change(frame: vec2f) -> vec3f {
    if (!CHANGES || frame.x < view.split_x) {
        return vec3f(0.0);
    }
    let byte = 255.0 * textureSampleLevel(correction, fine_sampler, frame * view.inverse_frame, 0.0).rgb;
    return (byte - 127.0) * (view.range / 127.0);
}

fn linear_from_srgb(c: vec3f) -> vec3f {
    return select(pow((c + 0.055) / 1.055, vec3f(2.4)), c / 12.92, c <= vec3f(0.04045));
}

// A premultiplied colour with the network's change, ready for the target. Each layer is clamped on its own: at a soft edge between
// colours at the end of their range that differs a little from clamping the composite.
fn out(premultiplied: vec3f, alpha: f32, frame: vec2f) -> vec4f {
    let colour = clamp(premultiplied + alpha * change(frame), vec3f(0.0), vec3f(alpha));
    if (LINEAR_TARGET) {
        return vec4f(linear_from_srgb(colour / max(alpha, 1e-4)) * alpha, alpha);
    }
    return vec4f(colour, alpha);
}

// The plate (layer 0) or an object.
@fragment
fn layer(in: Fragment) -> @location(0) vec4f {
    let uv = (in.own - sheet.origin) * sheet.inverse_size;
    let c = average(texels, uv, dpdx(in.own) * sheet.inverse_size, dpdy(in.own) * sheet.inverse_size);
    if (in.layer == 0u) {
        return out(c.rgb, 1.0, in.frame);
    }
    return out(min(c.rgb, vec3f(c.a)), c.a, in.frame);
}

// What was drawn before, moved: no change is added again.
@fragment
fn copy(in: Fragment) -> @location(0) vec4f {
    return textureSampleLevel(texels, fine_sampler, (in.own - sheet.origin) * sheet.inverse_size, 0.0);
}

fn datum(i: u32) -> vec4f {
    return textureLoad(motions, vec2u(i % view.columns, i / view.columns), 0);
}

// Where a mesh takes a source place, bilinear in its cells.
fn bent(layer: u32, place: vec2f) -> vec2f {
    let first = datum(4u * layer + 2u);
    let size = vec2u(datum(4u * layer + 3u).xy);
    let cell = (place - first.xy) / first.z;
    let corner = vec2u(clamp(floor(cell), vec2f(0.0), vec2f(size) - 2.0));
    let f = cell - vec2f(corner);
    let at = u32(first.w) + corner.y * size.x + corner.x;
    let top = mix(datum(at).xy, datum(at + 1u).xy, f.x);
    let bottom = mix(datum(at + size.x).xy, datum(at + size.x + 1u).xy, f.x);
    return mix(top, bottom, f.y);
}

// The source place that a layer shows at a frame place: exact for an affine motion, for a mesh searched from the affine one.
fn own_of(layer: u32, frame: vec2f) -> vec2f {
    let a = datum(4u * layer);
    let b = datum(4u * layer + 1u);
    let inverse = mat2x2f(a.xy, a.zw);
    var own = inverse * frame + b.xy;
    if (b.z > 0.0) {
        for (var i = 0; i < 8; i++) {
            let step = inverse * (frame - bent(layer, own));
            own += step;
            if (dot(step, step) < 1e-6) {
                break;
            }
        }
    }
    return own;
}

// Where a layer's motion takes a source place.
fn moved(layer: u32, place: vec2f) -> vec2f {
    if (datum(4u * layer + 1u).z > 0.0) {
        return bent(layer, place);
    }
    let matrix = datum(4u * layer + 2u);
    return mat2x2f(matrix.xy, matrix.zw) * place + datum(4u * layer + 3u).zw;
}

struct Corner {
    @location(0) place: vec2f,
    @location(1) inverse_depth: f32,
    @location(2) alpha: f32,
}

struct DeepFragment {
    @builtin(position) position: vec4f,
    // Where it is in the source, and X, Y, Z of the frame.
    @location(0) own: vec2f,
    @location(1) seen: vec3f,
    @location(2) alpha: f32,
    @location(3) @interpolate(flat) layer: u32,
}

const RIM: u32 = 0x80000000u;
const BACK: u32 = 0x40000000u;

// A corner of a sheet; the instance's number says of which one. The depth buffer holds inverse depths.
@vertex
fn deep_vertex(in: Corner, @builtin(instance_index) number: u32) -> DeepFragment {
    let layer = number & 0xffffffu;
    let place = moved(layer, in.place);
    let seen = view.eye[0].xyz * place.x + view.eye[1].xyz * place.y + view.eye[2].xyz + view.eye[3].xyz * in.inverse_depth;
    var near = in.inverse_depth;
    if ((number & BACK) != 0u) {
        // Where front and back are as far, the front counts.
        near *= 0.999;
    }
    if (layer > 0u) {
        // Only what is clearly nearer hides an object.
        near = max(1.15 * near, near + 6.0 * view.unit * seen.z);
    }
    let clip = vec4f(seen.xy * view.clip_scale + seen.z * view.clip_offset, near * view.nearness, seen.z);
    return DeepFragment(clip, in.place, seen, select(1.0, in.alpha, (number & RIM) != 0u), layer);
}

@fragment
fn deep(in: DeepFragment) -> @location(0) vec4f {
    let uv = (in.own - sheet.origin) * sheet.inverse_size;
    let c = average(texels, uv, dpdx(in.own) * sheet.inverse_size, dpdy(in.own) * sheet.inverse_size);
    let frame = in.seen.xy / in.seen.z;
    if (in.layer == 0u) {
        return out(c.rgb * in.alpha, in.alpha, frame);
    }
    return out(min(c.rgb, vec3f(c.a)), c.a, frame);
}

fn reach_at(place: vec2f) -> u32 {
    let size = vec2f(textureDimensions(reach));
    if (any(place < vec2f(0.0)) || any(place >= size)) {
        return 0u;
    }
    return textureLoad(reach, vec2u(place), 0).r;
}

// Over the hole of object `layer`: the source itself, as far as all objects that matter here move as the plate does.
@fragment
fn still(in: Fragment) -> @location(0) vec4f {
    let dx = dpdx(in.own);
    let dy = dpdy(in.own);
    let here = reach_at(in.own);
    // Where holes overlap one of them is enough.
    if (here == 0u || firstTrailingBit(here) != min(in.layer - 1u, 31u)) {
        discard;
    }
    var stillness = 1.0;
    var mine = in.own;
    for (var k = 0u; k < view.objects; k++) {
        let bit = 1u << min(k, 31u);
        let own = own_of(k + 1u, in.frame);
        if (((here | reach_at(own)) & bit) == 0u) {
            continue;
        }
        let away = length(own - in.own);
        if (!(away < 1.0)) {
            discard;
        }
        stillness = min(stillness, 1.02 * (1.0 - away));
        if (k + 1u == in.layer) {
            mine = own;
        }
    }
    if (stillness < 1.0) {
        // On its way the object covers what it covers.
        let uv = (mine - sheet.origin) * sheet.inverse_size;
        let gap = 1.0 - textureSampleLevel(texels, fine_sampler, uv, 0.0).a;
        stillness *= min(4.0 * gap, 1.0);
    }
    let c = average(source, in.own * view.inverse_frame, dx * view.inverse_frame, dy * view.inverse_frame);
    return out(c.rgb * stillness, stillness, in.frame);
}
