/* Clients: a request becomes a call, and what is said to the call becomes an answer.
 *
 * The prompt is never copied: it is named as a range of the request's body, in which it is written
 * as a JSON string, and the host converts it where it is wanted otherwise. */
#include "quill.h"

#include <stdlib.h>
#include <string.h>

enum member { MODEL, PROMPT, MAX_TOKENS, TEMPERATURE, STREAM, MEMBERS };
static const char *const NAMES[MEMBERS] = {"model", "prompt", "max_tokens", "temperature", "stream"};

struct exports_tollgate_plugin_frontend_exchange_t {
    bool asked, begun, over, streams, finished, done;
    place prompt;
    protocol_string_t model; /* As the client wrote it; empty: it did not. */
    protocol_string_t served;
    uint64_t max_tokens;
    bool has_temperature;
    double temperature;
    buffer text;
    uint64_t input, output;
};
typedef FRONTEND(exchange_t) exchange;
typedef FRONTEND(list_action_t) actions;

static FRONTEND(action_t) *act(actions *out, uint8_t tag) {
    out->ptr = room(out->ptr, (out->len + 1) * sizeof *out->ptr);
    FRONTEND(action_t) *action = &out->ptr[out->len++];
    memset(action, 0, sizeof *action);
    action->tag = tag;
    return action;
}

static void data(actions *out, buffer *bytes) {
    FRONTEND(action_t) *action = act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_DATA);
    action->val.data.ptr = room(NULL, sizeof *action->val.data.ptr);
    action->val.data.len = 1;
    action->val.data.ptr->tag = TOLLGATE_PLUGIN_TYPES_SEGMENT_INLINE;
    action->val.data.ptr->val.inline_ = as_bytes(bytes);
}

static void head(exchange *it, actions *out, const char *content_type) {
    FRONTEND(action_t) *action = act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_HEAD);
    action->val.head.status = 200;
    action->val.head.headers.ptr = room(NULL, sizeof *action->val.head.headers.ptr);
    action->val.head.headers.len = 1;
    *action->val.head.headers.ptr = header("content-type", content_type);
    it->begun = true;
}

static void finish(exchange *it, actions *out) {
    it->over = true;
    act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_FINISH);
}

/* The host words what fails before anything was sent; a stream that has begun says it itself. */
static void fail(exchange *it, actions *out, TYPES(failure_t) failed) {
    if (it->begun) {
        buffer event = {0};
        put_text(&event, "event: error\ndata: {\"error\":{\"kind\":\"upstream-invalid\",\"message\":");
        put_quoted(&event, failed.message.ptr, failed.message.len);
        put_text(&event, "}}\n\n");
        data(out, &event);
        tollgate_plugin_types_failure_free(&failed);
    } else {
        act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_REFUSE)->val.refuse = failed;
    }
    finish(it, out);
}

static void invalid(exchange *it, actions *out, const char *message) {
    fail(it, out, failure(FAILURE(INVALID_ARGUMENT), message));
}

/* Finds the members of the request; what is wrong with it, or NULL. */
static const char *find(place body, place found[MEMBERS]) {
    BODY(list_named_t) members;
    BODY(json_problem_t) problem;
    if (!tollgate_plugin_body_json_object(body.source, body.offset, body.len, &members, &problem)) {
        tollgate_plugin_body_json_problem_free(&problem);
        return "the request is no JSON object";
    }
    const char *wrong = NULL;
    for (size_t at = 0; at < members.len; at++) {
        BODY(named_t) *it = &members.ptr[at];
        size_t member = 0;
        while (member < MEMBERS && !is(it->name, NAMES[member])) member++;
        if (member == MEMBERS) wrong = "the request has a member that is not known";
        else if (found[member].there) wrong = "a member stands twice";
        else found[member] = (place){body.source, it->offset, it->len, true};
    }
    tollgate_plugin_body_list_named_free(&members);
    return wrong;
}

static bool begins(place at, char with) {
    if (!at.there) return false;
    at.len = 1;
    buffer first = read_place(at);
    bool so = first.len == 1 && first.ptr[0] == with;
    free(first.ptr);
    return so;
}

static void ask(exchange *it, actions *out, TYPES(progress_t) *progress) {
    place found[MEMBERS] = {{0}};
    const char *wrong = find((place){progress->source, 0, progress->available, true}, found);
    it->max_tokens = 64;
    if (wrong == NULL && !begins(found[PROMPT], '"')) wrong = "`prompt` must be a string";
    if (wrong == NULL && found[MODEL].there && !begins(found[MODEL], '"'))
        wrong = "`model` must be a string";
    if (wrong == NULL && found[MAX_TOKENS].there &&
        (!read_count(found[MAX_TOKENS], &it->max_tokens) || it->max_tokens > UINT32_MAX))
        wrong = "`max_tokens` must be a number of tokens";
    if (wrong == NULL && found[TEMPERATURE].there) {
        it->has_temperature = read_decimal(found[TEMPERATURE], &it->temperature);
        if (!it->has_temperature) wrong = "`temperature` must be a number of few digits";
    }
    if (wrong == NULL && found[STREAM].there) {
        it->streams = begins(found[STREAM], 't');
        if (!it->streams && !begins(found[STREAM], 'f')) wrong = "`stream` must be true or false";
    }
    if (wrong != NULL) {
        invalid(it, out, wrong);
        return;
    }
    it->asked = true;
    it->prompt = found[PROMPT];
    if (found[MODEL].there) it->model = read_string(found[MODEL]);
    FRONTEND(intent_t) *intent = &act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_CALL)->val.call;
    intent->task.tag = TOLLGATE_PLUGIN_INFERENCE_TASK_KIND_GENERATE;
    if (found[MODEL].there) {
        intent->model.is_some = true;
        intent->model.val = copied(it->model);
    }
    intent->streaming = it->streams;
    intent->cost.input = (uint32_t)(it->prompt.len / 4);
    intent->cost.output = (uint32_t)it->max_tokens;
    intent->affinity.tag = EXPORTS_TOLLGATE_PLUGIN_FRONTEND_AFFINITY_NONE;
    intent->repeatable = true;
}

static void dispatched(exchange *it, actions *out, FRONTEND(dispatched_t) *told) {
    protocol_string_t model;
    switch (told->way.tag) {
    case EXPORTS_TOLLGATE_PLUGIN_FRONTEND_WAY_PASS:
        model = told->way.val.pass.model;
        break;
    case EXPORTS_TOLLGATE_PLUGIN_FRONTEND_WAY_TRANSLATE:
        model = told->way.val.translate.model;
        break;
    default:
        fail(it, out, failure(FAILURE(INTERNAL), "an unknown way to a worker"));
        return;
    }
    /* Another worker may have begun an answer before. */
    it->text.len = 0;
    it->finished = false;
    protocol_string_free(&it->served);
    it->served = copied(model);
    FRONTEND(action_t) *action = act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_MATERIALISE);
    INFERENCE(call_t) *call = &action->val.materialise.call;
    call->model = copied(model);
    call->streaming = it->streams;
    call->task.tag = TOLLGATE_PLUGIN_INFERENCE_TASK_GENERATE;
    INFERENCE(generate_t) *task = &call->task.val.generate;
    task->prompts.ptr = room(NULL, sizeof *task->prompts.ptr);
    task->prompts.len = 1;
    INFERENCE(prompt_t) *prompt = task->prompts.ptr;
    memset(prompt, 0, sizeof *prompt);
    prompt->tag = TOLLGATE_PLUGIN_INFERENCE_PROMPT_TEXT;
    prompt->val.text.tag = TOLLGATE_PLUGIN_TYPES_TEXT_HELD;
    prompt->val.text.val.held.at =
        (TYPES(span_t)){it->prompt.source, it->prompt.offset, it->prompt.len};
    prompt->val.text.val.held.written.tag = TOLLGATE_PLUGIN_TYPES_ENCODING_JSON_STRING;
    INFERENCE(settings_t) *settings = &task->settings;
    settings->n = 1;
    settings->stopping.max_tokens.is_some = true;
    settings->stopping.max_tokens.val = (uint32_t)it->max_tokens;
    settings->sampling.temperature.is_some = it->has_temperature;
    settings->sampling.temperature.val = it->temperature;
}

static void put_last(exchange *it, buffer *out) {
    put_text(out, it->done ? "\"finish\":\"done\"" : "\"finish\":\"length\"");
    put_text(out, ",\"usage\":{\"input\":");
    put_number(out, it->input);
    put_text(out, ",\"output\":");
    put_number(out, it->output);
    put_text(out, "}}");
}

static void end(exchange *it, actions *out) {
    buffer last = {0};
    if (!it->finished) {
        fail(it, out, failure(FAILURE(UPSTREAM_INVALID), "the worker gave no reason for its end"));
        return;
    }
    if (it->streams) {
        if (!it->begun) head(it, out, "text/event-stream");
        put_text(&last, "event: end\ndata: {");
        put_last(it, &last);
        put_text(&last, "\n\n");
    } else {
        head(it, out, "application/json");
        protocol_string_t model = it->model.len ? it->model : it->served;
        put_text(&last, "{\"model\":");
        put_quoted(&last, model.ptr, model.len);
        put_text(&last, ",\"text\":");
        put_quoted(&last, it->text.ptr, it->text.len);
        put_text(&last, ",");
        put_last(it, &last);
    }
    data(out, &last);
    finish(it, out);
}

static void event(exchange *it, actions *out, INFERENCE(event_t) *said) {
    switch (said->tag) {
    case EVENT(DELTA): {
        protocol_string_t text = said->val.delta.text;
        if (!it->streams) {
            put(&it->text, text.ptr, text.len);
        } else if (text.len) {
            if (!it->begun) head(it, out, "text/event-stream");
            buffer piece = {0};
            put_text(&piece, "data: {\"text\":");
            put_quoted(&piece, text.ptr, text.len);
            put_text(&piece, "}\n\n");
            data(out, &piece);
        }
        break;
    }
    case EVENT(FINISHED): {
        INFERENCE(finished_t) *finished = &said->val.finished;
        it->finished = true;
        it->done = finished->reason.tag <= TOLLGATE_PLUGIN_INFERENCE_FINISH_REASON_STOP_SEQUENCE;
        if (finished->input_tokens.is_some) it->input = finished->input_tokens.val;
        if (finished->output_tokens.is_some) it->output = finished->output_tokens.val;
        break;
    }
    case EVENT(USAGE):
        if (said->val.usage.input_tokens.is_some) it->input = said->val.usage.input_tokens.val;
        if (said->val.usage.output_tokens.is_some) it->output = said->val.usage.output_tokens.val;
        break;
    case EVENT(FAILED):
        fail(it, out, said->val.failed);
        /* It is the host's now, and not to be freed with the inputs. */
        memset(&said->val.failed, 0, sizeof said->val.failed);
        break;
    case EVENT(END):
        end(it, out);
        break;
    default:
        break;
    }
}

static void input(exchange *it, actions *out, FRONTEND(input_t) *told) {
    switch (told->tag) {
    case EXPORTS_TOLLGATE_PLUGIN_FRONTEND_INPUT_BODY:
        if (it->asked) break;
        if (told->val.body.end)
            ask(it, out, &told->val.body);
        else
            act(out, EXPORTS_TOLLGATE_PLUGIN_FRONTEND_ACTION_NEED)->val.need =
                need_all(told->val.body.source);
        break;
    case EXPORTS_TOLLGATE_PLUGIN_FRONTEND_INPUT_DISPATCHED:
        dispatched(it, out, &told->val.dispatched);
        break;
    case EXPORTS_TOLLGATE_PLUGIN_FRONTEND_INPUT_EVENTS:
        for (size_t at = 0; at < told->val.events.len && !it->over; at++)
            event(it, out, &told->val.events.ptr[at].event);
        break;
    case EXPORTS_TOLLGATE_PLUGIN_FRONTEND_INPUT_CUT:
        invalid(it, out, "the request broke off");
        break;
    default:
        break;
    }
}

FRONTEND(own_exchange_t)
exports_tollgate_plugin_frontend_constructor_exchange(FRONTEND(context_t) *context,
                                                      FRONTEND(request_head_t) *head) {
    tollgate_plugin_types_context_free(context);
    exports_tollgate_plugin_frontend_request_head_free(head);
    exchange *it = room(NULL, sizeof *it);
    memset(it, 0, sizeof *it);
    return exports_tollgate_plugin_frontend_exchange_new(it);
}

void exports_tollgate_plugin_frontend_method_exchange_step(FRONTEND(borrow_exchange_t) it,
                                                           FRONTEND(list_input_t) *inputs,
                                                           actions *out) {
    *out = (actions){0};
    for (size_t at = 0; at < inputs->len && !it->over; at++) input(it, out, &inputs->ptr[at]);
    exports_tollgate_plugin_frontend_list_input_free(inputs);
}

void exports_tollgate_plugin_frontend_exchange_destructor(exchange *it) {
    protocol_string_free(&it->model);
    protocol_string_free(&it->served);
    free(it->text.ptr);
    free(it);
}
