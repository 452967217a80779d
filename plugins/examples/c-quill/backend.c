/* Workers: a call becomes a request, and its answer becomes events. */
#include "quill.h"

#include <stdlib.h>
#include <string.h>

struct exports_tollgate_plugin_backend_attempt_t {
    BACKEND(list_call_t) members;
    uint16_t status;
    uint64_t event; /* Where the next event of a stream begins. */
    bool complete, over;
};
typedef BACKEND(attempt_t) attempt;
typedef BACKEND(list_action_t) actions;

static BACKEND(action_t) *act(actions *out, uint8_t tag) {
    out->ptr = room(out->ptr, (out->len + 1) * sizeof *out->ptr);
    BACKEND(action_t) *action = &out->ptr[out->len++];
    memset(action, 0, sizeof *action);
    action->tag = tag;
    return action;
}

/* One event of the one member. */
static INFERENCE(event_t) *tell(actions *out, uint8_t tag) {
    BACKEND(action_t) *action = act(out, EXPORTS_TOLLGATE_PLUGIN_BACKEND_ACTION_EVENTS);
    action->val.events.ptr = room(NULL, sizeof *action->val.events.ptr);
    action->val.events.len = 1;
    memset(action->val.events.ptr, 0, sizeof *action->val.events.ptr);
    action->val.events.ptr->event.tag = tag;
    return &action->val.events.ptr->event;
}

static void finish(attempt *it, actions *out) {
    it->over = true;
    act(out, EXPORTS_TOLLGATE_PLUGIN_BACKEND_ACTION_FINISH);
}

static void fail(attempt *it, actions *out, uint8_t kind, const char *message) {
    tell(out, EVENT(FAILED))->val.failed = failure(kind, message);
    finish(it, out);
}

/* What a call asks that this protocol has no words for; NULL: nothing. */
static const char *unsaid(INFERENCE(settings_t) *asked) {
    INFERENCE(sampling_t) *sampling = &asked->sampling;
    INFERENCE(stopping_t) *stopping = &asked->stopping;
    if (sampling->top_k.is_some || sampling->top_p.is_some || sampling->typical_p.is_some ||
        sampling->min_p.is_some || sampling->seed.is_some || sampling->repetition_penalty.is_some ||
        sampling->frequency_penalty.is_some || sampling->presence_penalty.is_some ||
        sampling->length_penalty.is_some)
        return "workers of this protocol cannot honour `sampling`";
    if (stopping->min_tokens.is_some || stopping->stop_sequences.len || stopping->time_limit_ms.is_some)
        return "workers of this protocol cannot honour `stopping`";
    if (asked->detail.echo || asked->detail.logprobs || asked->detail.top_n)
        return "workers of this protocol cannot honour `detail`";
    if (asked->n != 1 || asked->truncate.is_some || asked->constraint.is_some ||
        asked->adapter.is_some || asked->extras.len)
        return "workers of this protocol cannot honour all that is asked";
    return NULL;
}

static void request(attempt *it, actions *out) {
    INFERENCE(call_t) *call = it->members.ptr;
    if (it->members.len != 1 || call->task.tag != TOLLGATE_PLUGIN_INFERENCE_TASK_GENERATE ||
        call->task.val.generate.prompts.len != 1 ||
        call->task.val.generate.prompts.ptr->tag != TOLLGATE_PLUGIN_INFERENCE_PROMPT_TEXT) {
        fail(it, out, FAILURE(UNSUPPORTED), "workers of this protocol take one prompt, as text");
        return;
    }
    INFERENCE(settings_t) *asked = &call->task.val.generate.settings;
    const char *cannot = unsaid(asked);
    if (cannot != NULL) {
        fail(it, out, FAILURE(INVALID_ARGUMENT), cannot);
        return;
    }
    TYPES(text_t) *prompt = &call->task.val.generate.prompts.ptr->val.text;
    buffer before = {0}, after = {0};
    put_text(&before, "{\"model\":");
    put_quoted(&before, call->model.ptr, call->model.len);
    put_text(&before, ",\"prompt\":");
    if (asked->stopping.max_tokens.is_some) {
        put_text(&after, ",\"max_tokens\":");
        put_number(&after, asked->stopping.max_tokens.val);
    }
    if (asked->sampling.greedy) {
        put_text(&after, ",\"temperature\":0.0");
    } else if (asked->sampling.temperature.is_some) {
        put_text(&after, ",\"temperature\":");
        if (!put_decimal(&after, asked->sampling.temperature.val)) {
            free(before.ptr);
            free(after.ptr);
            fail(it, out, FAILURE(INVALID_ARGUMENT), "`temperature` has too many digits");
            return;
        }
    }
    put_text(&after, call->streaming ? ",\"stream\":true}" : ",\"stream\":false}");

    BACKEND(request_t) *made = &act(out, EXPORTS_TOLLGATE_PLUGIN_BACKEND_ACTION_REQUEST)->val.request;
    made->surface.tag = EXPORTS_TOLLGATE_PLUGIN_BACKEND_SURFACE_REST;
    protocol_string_dup(&made->surface.val.rest.method, "POST");
    protocol_string_dup(&made->surface.val.rest.path, "/quill/v1/write");
    made->headers.ptr = room(NULL, sizeof *made->headers.ptr);
    made->headers.len = 1;
    *made->headers.ptr = header("content-type", "application/json");
    made->end = true;
    made->body.len = 3;
    made->body.ptr = room(NULL, 3 * sizeof *made->body.ptr);
    memset(made->body.ptr, 0, 3 * sizeof *made->body.ptr);
    TYPES(segment_t) *middle = &made->body.ptr[1];
    if (prompt->tag == TOLLGATE_PLUGIN_TYPES_TEXT_INLINE) {
        put_quoted(&before, prompt->val.inline_.ptr, prompt->val.inline_.len);
        middle->tag = TOLLGATE_PLUGIN_TYPES_SEGMENT_INLINE;
    } else {
        /* The host writes it, as a JSON string, from where it lies. */
        middle->tag = TOLLGATE_PLUGIN_TYPES_SEGMENT_CONVERT;
        middle->val.convert.value = prompt->val.held;
        middle->val.convert.to.tag = TOLLGATE_PLUGIN_TYPES_ENCODING_JSON_STRING;
    }
    made->body.ptr[0].tag = TOLLGATE_PLUGIN_TYPES_SEGMENT_INLINE;
    made->body.ptr[0].val.inline_ = as_bytes(&before);
    made->body.ptr[2].tag = TOLLGATE_PLUGIN_TYPES_SEGMENT_INLINE;
    made->body.ptr[2].val.inline_ = as_bytes(&after);
}

/* Members of an answer or of an event: `text`, `finish`, `usage`. False: it is no JSON object. */
static bool say(attempt *it, actions *out, place object) {
    static const char *const NAMES[] = {"text", "finish", "usage"};
    static const char *const COUNTS[] = {"input", "output"};
    place found[3] = {{0}}, counts[2] = {{0}};
    for (int level = 0; level < 2; level++) {
        place within = level == 0 ? object : found[2];
        if (!within.there) break;
        BODY(list_named_t) members;
        BODY(json_problem_t) problem;
        if (!tollgate_plugin_body_json_object(within.source, within.offset, within.len, &members,
                                              &problem)) {
            tollgate_plugin_body_json_problem_free(&problem);
            return false;
        }
        for (size_t at = 0; at < members.len; at++) {
            BODY(named_t) *member = &members.ptr[at];
            place value = {object.source, member->offset, member->len, true};
            for (size_t name = 0; level == 0 && name < 3; name++)
                if (is(member->name, NAMES[name])) found[name] = value;
            for (size_t name = 0; level == 1 && name < 2; name++)
                if (is(member->name, COUNTS[name])) counts[name] = value;
        }
        tollgate_plugin_body_list_named_free(&members);
    }
    if (found[0].there) {
        protocol_string_t text = read_string(found[0]);
        if (text.len)
            tell(out, EVENT(DELTA))->val.delta.text = text;
        else
            protocol_string_free(&text);
    }
    if (found[1].there) {
        protocol_string_t why = read_string(found[1]);
        it->complete = true;
        tell(out, EVENT(FINISHED))->val.finished.reason.tag =
            is(why, "done") ? TOLLGATE_PLUGIN_INFERENCE_FINISH_REASON_END_OF_SEQUENCE
                            : TOLLGATE_PLUGIN_INFERENCE_FINISH_REASON_MAX_TOKENS;
        protocol_string_free(&why);
    }
    if (found[2].there) {
        INFERENCE(usage_t) *usage = &tell(out, EVENT(USAGE))->val.usage;
        usage->input_tokens.is_some = counts[0].there && read_count(counts[0], &usage->input_tokens.val);
        usage->output_tokens.is_some = counts[1].there && read_count(counts[1], &usage->output_tokens.val);
    }
    return true;
}

/* All events that have come whole: lines that end with LF, a blank one after the last. */
static void stream(attempt *it, actions *out, TYPES(progress_t) *progress) {
    place rest = {progress->source, it->event, progress->available - it->event, true};
    buffer bytes = read_place(rest);
    size_t begin = 0, line = 0;
    place found = {0};
    bool error = false;
    for (size_t at = 0; at < bytes.len && !it->over; at++) {
        if (bytes.ptr[at] != '\n') continue;
        uint8_t *text = bytes.ptr + line;
        size_t len = at - line;
        if (len > 6 && memcmp(text, "data: ", 6) == 0)
            found = (place){rest.source, rest.offset + line + 6, len - 6, true};
        else if (len == 12 && memcmp(text, "event: error", 12) == 0)
            error = true;
        else if (len == 0) {
            if (error)
                fail(it, out, FAILURE(UPSTREAM_INVALID), "the worker failed within its stream");
            else if (found.there && !say(it, out, found))
                fail(it, out, FAILURE(UPSTREAM_INVALID), "the worker sent an event that is no JSON");
            found.there = false;
            begin = at + 1;
        }
        line = at + 1;
    }
    free(bytes.ptr);
    it->event += begin;
    if (!it->over)
        act(out, EXPORTS_TOLLGATE_PLUGIN_BACKEND_ACTION_NEED)->val.need =
            keep_from(progress->source, it->event);
}

static void input(attempt *it, actions *out, BACKEND(input_t) *told) {
    switch (told->tag) {
    case EXPORTS_TOLLGATE_PLUGIN_BACKEND_INPUT_START:
        request(it, out);
        break;
    case EXPORTS_TOLLGATE_PLUGIN_BACKEND_INPUT_HEAD:
        it->status = told->val.head.status;
        break;
    case EXPORTS_TOLLGATE_PLUGIN_BACKEND_INPUT_BYTES: {
        TYPES(progress_t) *progress = &told->val.bytes;
        if (it->status == 200 && it->members.ptr->streaming)
            stream(it, out, progress);
        else if (!progress->end)
            act(out, EXPORTS_TOLLGATE_PLUGIN_BACKEND_ACTION_NEED)->val.need = need_all(progress->source);
        else if (it->status != 200)
            fail(it, out, FAILURE(UPSTREAM_INVALID), "the worker answered with an error");
        else if (!say(it, out, (place){progress->source, 0, progress->available, true}))
            fail(it, out, FAILURE(UPSTREAM_INVALID), "the worker's answer is no JSON object");
        break;
    }
    case EXPORTS_TOLLGATE_PLUGIN_BACKEND_INPUT_END:
        if (it->complete) {
            tell(out, EVENT(END));
            finish(it, out);
        } else {
            fail(it, out, FAILURE(UPSTREAM_INVALID), "the worker's answer is not complete");
        }
        break;
    case EXPORTS_TOLLGATE_PLUGIN_BACKEND_INPUT_CUT:
        fail(it, out, FAILURE(UPSTREAM_UNAVAILABLE), "the worker broke off its answer");
        break;
    case EXPORTS_TOLLGATE_PLUGIN_BACKEND_INPUT_LEFT:
        finish(it, out);
        break;
    default:
        break;
    }
}

BACKEND(own_attempt_t)
exports_tollgate_plugin_backend_constructor_attempt(BACKEND(context_t) *context,
                                                    BACKEND(worker_t) *worker,
                                                    BACKEND(list_call_t) *members) {
    tollgate_plugin_types_context_free(context);
    exports_tollgate_plugin_backend_worker_free(worker);
    attempt *it = room(NULL, sizeof *it);
    memset(it, 0, sizeof *it);
    it->members = *members;
    return exports_tollgate_plugin_backend_attempt_new(it);
}

void exports_tollgate_plugin_backend_method_attempt_step(BACKEND(borrow_attempt_t) it,
                                                         BACKEND(list_input_t) *inputs,
                                                         actions *out) {
    *out = (actions){0};
    for (size_t at = 0; at < inputs->len && !it->over; at++) input(it, out, &inputs->ptr[at]);
    exports_tollgate_plugin_backend_list_input_free(inputs);
}

void exports_tollgate_plugin_backend_attempt_destructor(attempt *it) {
    exports_tollgate_plugin_backend_list_call_free(&it->members);
    free(it);
}
