//! Verifies signatures in minisign's format (https://jedisct1.github.io/minisign/), prehashed ones
//! only: Ed25519 over the BLAKE2b-512 of the file, and over the signature and the trusted comment.

const std = @import("std");
const io = @import("io.zig");

const Ed25519 = std.crypto.sign.Ed25519;
const Blake2b512 = std.crypto.hash.blake2.Blake2b512;
const COMMENT = "trusted comment: ";

// What is signed is a bundle's list of checksums: a hundred bytes for each file.
var data_buffer: [4 << 20]u8 = undefined;
var key_buffer: [4096]u8 = undefined;
var signature_buffer: [16384]u8 = undefined;

pub fn verify(key_path: [*:0]const u8, path: [*:0]const u8, signature_path: [*:0]const u8) u8 {
    const key_file = io.read(key_path, &key_buffer) orelse return unreadable(key_path);
    const data = io.read(path, &data_buffer) orelse return unreadable(path);
    const signature_file = io.read(signature_path, &signature_buffer) orelse
        return unreadable(signature_path);

    var key: [42]u8 = undefined; // "Ed", key number, public key
    if (!decode(&key, line(key_file, 1)) or !std.mem.eql(u8, key[0..2], "Ed"))
        return io.fail(4, std.mem.span(key_path), "is no public key of minisign");
    var signed: [74]u8 = undefined; // "ED", key number, signature
    var global: [64]u8 = undefined;
    const comment_line = line(signature_file, 2);
    if (!decode(&signed, line(signature_file, 1)) or !decode(&global, line(signature_file, 3)) or
        !std.mem.startsWith(u8, comment_line, COMMENT))
        return io.fail(1, std.mem.span(signature_path), "is no signature of minisign");
    if (!std.mem.eql(u8, signed[0..2], "ED"))
        return io.fail(1, std.mem.span(signature_path), "is no prehashed signature");
    if (!std.mem.eql(u8, signed[2..10], key[2..10]))
        return io.fail(1, std.mem.span(path), "is signed with another key");

    const public = Ed25519.PublicKey.fromBytes(key[10..42].*) catch
        return io.fail(4, std.mem.span(key_path), "is no public key of minisign");
    var hash: [64]u8 = undefined;
    Blake2b512.hash(data, &hash, .{});
    if (!valid(signed[10..74].*, &hash, public))
        return io.fail(1, std.mem.span(path), "does not have the signature that goes with it");

    const comment = comment_line[COMMENT.len..];
    var whole: [64 + 8192]u8 = undefined; // minisign's own limit of a trusted comment
    if (comment.len > 8192) return io.fail(1, std.mem.span(signature_path), "has too long a comment");
    @memcpy(whole[0..64], signed[10..74]);
    @memcpy(whole[64..][0..comment.len], comment);
    if (!valid(global, whole[0 .. 64 + comment.len], public))
        return io.fail(1, std.mem.span(signature_path), "has a comment that is not signed");
    io.say(1, &.{ comment, "\n" });
    return 0;
}

fn valid(bytes: [64]u8, message: []const u8, key: Ed25519.PublicKey) bool {
    Ed25519.Signature.fromBytes(bytes).verify(message, key) catch return false;
    return true;
}

fn unreadable(path: [*:0]const u8) u8 {
    return io.fail(4, std.mem.span(path), "cannot be read");
}

/// Line `number`, from 0, without its end; empty where there is none.
fn line(file: []const u8, number: usize) []const u8 {
    var lines = std.mem.splitScalar(u8, file, '\n');
    var at: usize = 0;
    while (lines.next()) |each| : (at += 1) {
        if (at == number) return std.mem.trimEnd(u8, each, "\r");
    }
    return "";
}

/// Decodes base64 that holds exactly as many bytes as `into`.
fn decode(into: []u8, encoded: []const u8) bool {
    const decoder = std.base64.standard.Decoder;
    const size = decoder.calcSizeForSlice(encoded) catch return false;
    if (size != into.len) return false;
    decoder.decode(into, encoded) catch return false;
    return true;
}
