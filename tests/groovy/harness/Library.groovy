import com.cloudbees.groovy.cps.NonCPS
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ImportCustomizer

/** The shared library's classes, compiled as Jenkins does: `src` on the class path, two annotations imported. */
class Library {
    final File folder
    final GroovyClassLoader loader
    private final Map<String, Class> variables = [:]

    Library(File folder) {
        this.folder = folder
        CompilerConfiguration configuration = new CompilerConfiguration()
        ImportCustomizer imports = new ImportCustomizer()
        imports.addImports(NonCPS.name, org.jenkinsci.plugins.workflow.libs.Library.name)
        configuration.addCompilationCustomizers(imports)
        loader = new GroovyClassLoader(Library.classLoader, configuration)
        loader.addClasspath(new File(folder, 'src').path)
        new File(folder, 'vars').eachFileMatch(~/.*\.groovy/) { File file ->
            variables[file.name - '.groovy'] = loader.parseClass(file)
        }
    }

    Set<String> names() {
        return variables.keySet()
    }

    Script variable(String name) {
        return variables[name].newInstance()
    }

    Script pipeline(File file) {
        return loader.parseClass(file.text, 'Pipeline_' + file.name.replaceAll(/\W/, '_') + '.groovy').newInstance()
    }

    Script pipeline(String text) {
        return loader.parseClass(text, 'Jenkinsfile' + text.hashCode().abs() + '.groovy').newInstance()
    }

    String resource(String path) {
        return new File(folder, 'resources/' + path).text
    }
}
