import hudson.AbortException

/** Declarative pipelines: their structure is checked while it is read, then they are carried out. */
class Declarative {
    private static final List PIPELINE = ['agent', 'options', 'parameters', 'environment', 'stages', 'post', 'triggers',
                                          'tools', 'libraries']
    private static final List STAGE = ['agent', 'when', 'steps', 'stages', 'parallel', 'matrix', 'post', 'environment',
                                       'options', 'input', 'tools', 'failFast']
    private static final List POST = ['always', 'changed', 'fixed', 'regression', 'aborted', 'failure', 'success',
                                      'unstable', 'unsuccessful', 'notBuilt', 'cleanup']
    private static final List OPTIONS = ['ansiColor', 'buildDiscarder', 'disableConcurrentBuilds', 'disableResume', 'lock',
                                         'logRotator', 'parallelsAlwaysFailFast', 'preserveStashes', 'quietPeriod', 'retry',
                                         'skipDefaultCheckout', 'skipStagesAfterUnstable', 'timeout', 'timestamps']
    private static final List BODIES = ['steps', 'stages', 'parallel', 'matrix']

    private final Build build
    private final Script script
    private final Set<String> stageNames = [] as Set

    Declarative(Build build, Script script) {
        this.build = build
        this.script = script
    }

    /** Let the script call `pipeline { }`. */
    void offer() {
        script.metaClass.pipeline = { Closure body -> carryOut(read(body)) }
    }

    // -- reading ------------------------------------------------------------------------------------------------

    /** The sections of a pipeline; an AssertionError says what Jenkins would refuse. */
    Map read(Closure body) {
        Map model = sections('pipeline', PIPELINE, body)
        assert model.agent != null : 'pipeline: agent is missing'
        assert model.stages != null : 'pipeline: stages is missing'
        if (model.options != null) {
            evaluate((Closure) model.options, new Names('options', OPTIONS))
        }
        model.stages = stagesIn('pipeline', (Closure) model.stages)
        model.post = model.post == null ? [:] : sections('post', POST, (Closure) model.post)
        return model
    }

    private Map sections(String where, List allowed, Closure body) {
        Sections recorder = new Sections(where, allowed, build)
        evaluate(body, recorder)
        return recorder.found
    }

    private List<Map> stagesIn(String where, Closure body) {
        Stages recorder = new Stages(where)
        evaluate(body, recorder)
        assert !recorder.found.isEmpty() : where + ': there is no stage'
        return recorder.found.collect { List named -> stage((String) named[0], (Closure) named[1]) }
    }

    private Map stage(String name, Closure body) {
        assert stageNames.add(name) : 'stage ' + name + ' is there twice'
        Map model = sections('stage ' + name, STAGE, body)
        List bodies = BODIES.findAll { model[it] != null }
        assert bodies.size() == 1 : 'stage ' + name + ': needs exactly one of ' + BODIES
        assert model.parallel == null || model.agent == null : 'stage ' + name + ': no agent beside parallel'
        model.name = name
        model.post = model.post == null ? [:] : sections('post of ' + name, POST, (Closure) model.post)
        for (String key : ['stages', 'parallel']) {
            if (model[key] != null) {
                model[key] = stagesIn('stage ' + name, (Closure) model[key])
            }
        }
        return model
    }

    private static void evaluate(Closure body, Object recorder) {
        Closure copy = (Closure) body.clone()
        copy.delegate = recorder
        copy.resolveStrategy = Closure.DELEGATE_FIRST
        copy.call()
    }

    // -- carrying out -------------------------------------------------------------------------------------------

    private void carryOut(Map model) {
        if (model.parameters != null) {
            Parameters recorder = new Parameters()
            evaluate((Closure) model.parameters, recorder)
            build.params = recorder.values + build.params
        }
        within(model, true) { model.stages.each { Map stage -> runStage(stage) } }
    }

    private void runStage(Map stage) {
        if (build.currentBuild.result in ['FAILURE', 'ABORTED']) {
            return
        }
        if (stage.when != null && !holds((Closure) stage.when)) {
            build.step('echo', ['Stage ' + stage.name + ' skipped due to when conditional'] as Object[])
            return
        }
        Map answers = stage.input == null ? [:] : ask((Closure) stage.input)
        build.with(answers) {
            within(stage, false) { body(stage) }
        }
    }

    private void body(Map stage) {
        if (stage.steps != null) {
            here((Closure) stage.steps)
        } else if (stage.stages != null) {
            stage.stages.each { Map inner -> runStage(inner) }
        } else if (stage.parallel != null) {
            Map branches = stage.parallel.collectEntries { Map inner -> [inner.name, { runStage(inner) }] }
            build.step('parallel', [branches] as Object[])
        } else {
            throw new AssertionError('stage ' + stage.name + ': the harness runs no matrix')
        }
    }

    /** Run what is inside a pipeline or stage, with its agent and environment, and its post sections after it. */
    private void within(Map model, boolean outermost, Closure body) {
        Closure work = {
            Throwable problem = null
            try {
                build.with(environmentOf(model)) { body.call() }
            } catch (Exception caught) {
                problem = caught
                build.currentBuild.result = caught instanceof InterruptedException ? 'ABORTED' : 'FAILURE'
            }
            after(model)
            if (problem != null) {
                throw problem
            }
        }
        if (model.agent == null || model.agent == 'none') {
            work.call()
        } else {
            onAgent(model.agent, work)
        }
    }

    private void onAgent(Object agent, Closure work) {
        Object label = ''
        if (agent instanceof Closure) {
            Agent recorder = new Agent()
            evaluate((Closure) agent, recorder)
            label = recorder.label
        }
        build.step('node', [label, {
            build.step('checkout', ['scm'] as Object[])
            work.call()
        }] as Object[])
    }

    private void after(Map model) {
        String result = build.currentBuild.result ?: 'SUCCESS'
        for (String condition : model.post.keySet()) {
            boolean holds = condition in ['always', 'cleanup'] || condition.toUpperCase() == result ||
                (condition == 'unsuccessful' && result != 'SUCCESS')
            if (holds) {
                here((Closure) model.post[condition])
            }
        }
    }

    private Object here(Closure body) {
        return body.rehydrate(script, script, script).call()
    }

    private Map environmentOf(Map model) {
        if (model.environment == null) {
            return [:]
        }
        Assignments recorder = new Assignments(build)
        evaluate((Closure) model.environment, recorder)
        return recorder.values
    }

    private boolean holds(Closure conditions) {
        Conditions recorder = new Conditions(build, script)
        evaluate(conditions, recorder)
        return recorder.results.every { it }
    }

    private Map ask(Closure description) {
        Question recorder = new Question()
        evaluate(description, recorder)
        Object answer = build.step('input', [recorder.found] as Object[])
        String name = recorder.found.submitterParameter
        return name ? [(name): (answer instanceof Map ? answer[name] : answer).toString()] : [:]
    }
}

/** Records sections by name; each may stand once, and only those allowed. */
class Sections {
    final Map found = [:]
    private final String where
    private final List allowed
    private final Build build

    Sections(String where, List allowed, Build build) {
        this.where = where
        this.allowed = allowed
        this.build = build
    }

    Object methodMissing(String name, Object arguments) {
        assert name in allowed : where + ': there is no section ' + name
        assert !found.containsKey(name) : where + ': ' + name + ' is there twice'
        Object[] given = (Object[]) arguments
        assert given.length == 1 : where + ': ' + name + ' takes one block'
        found[name] = given[0]
        return null
    }

    Object propertyMissing(String name) {
        return name in ['any', 'none'] ? name : build.variable(name)
    }
}

/** Accepts calls of known names, whatever is given to them. */
class Names {
    private final String where
    private final List allowed

    Names(String where, List allowed) {
        this.where = where
        this.allowed = allowed
    }

    Object methodMissing(String name, Object arguments) {
        assert name in allowed : where + ': there is no ' + name
        return null
    }
}

class Stages {
    final List<List> found = []
    private final String where

    Stages(String where) {
        this.where = where
    }

    void stage(String name, Closure body) {
        found.add([name, body])
    }

    Object methodMissing(String name, Object arguments) {
        throw new AssertionError(where + ': stages hold stage, not ' + name)
    }
}

class Agent {
    String label = ''

    void label(String value) {
        label = value
    }

    void node(Closure body) {
        body.delegate = this
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body.call()
    }
}

class Parameters {
    final Map values = [:]

    Object methodMissing(String name, Object arguments) {
        Map given = (Map) ((Object[]) arguments)[0]
        assert name in ['string', 'booleanParam', 'choice', 'text'] : 'parameters: there is no ' + name
        values[given.name] = name == 'choice' ? given.choices[0] : given.defaultValue
        return null
    }
}

class Assignments {
    final Map values = [:]
    private final Build build

    Assignments(Build build) {
        this.build = build
    }

    void setProperty(String name, Object value) {
        values[name] = value.toString()
    }

    Object propertyMissing(String name) {
        return values.containsKey(name) ? values[name] : build.variable(name)
    }
}

class Conditions {
    final List results = []
    private final Build build
    private final Script script

    Conditions(Build build, Script script) {
        this.build = build
        this.script = script
    }

    void beforeInput(boolean value) {
    }

    void beforeAgent(boolean value) {
    }

    void branch(String name) {
        results.add(build.variable('env').BRANCH_NAME == name)
    }

    void expression(Closure body) {
        results.add(body.rehydrate(script, script, script).call())
    }

    void changeRequest() {
        results.add(build.variable('env').CHANGE_ID != null)
    }

    void not(Closure body) {
        Conditions inner = new Conditions(build, script)
        body.delegate = inner
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body.call()
        results.add(!inner.results.every { it })
    }
}

class Question {
    final Map found = [:]

    Object methodMissing(String name, Object arguments) {
        assert name in ['message', 'id', 'ok', 'parameters', 'submitter', 'submitterParameter'] : 'input: no ' + name
        found[name] = ((Object[]) arguments)[0]
        return null
    }
}
